//! The documents of the API, and a page to read them: all of it from memory, none of it from elsewhere.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use poem::endpoint::make_sync;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Request, Response, Route, get};
use poem_openapi::OpenApiService;
use sha2::{Digest as _, Sha256};

use super::probes::VERSION;

/// How poem-openapi's page is given its document, and how ours is: by an address relative to `/docs`, which is right
/// behind any path prefix.
const INLINE: &str = "spec: spec,";
const BY_ADDRESS: &str = "url: 'openapi.json',";
/// Keeps browsers from asking for an icon, which would be a 404.
const NO_ICON: &str = "<head><link rel=\"icon\" href=\"data:,\">";

/// The documents as they are served, byte for byte.
#[derive(Clone, Debug)]
pub struct Documents {
    /// OpenAPI 3.1.
    pub openapi: Bytes,
    /// The same for generators that read nothing newer than 3.0.
    pub openapi_3_0: Bytes,
    /// AsyncAPI 3.0.
    pub asyncapi: Bytes,
}

impl Documents {
    /// Adds the documents and the page to `route`.
    pub fn serve_on(self, route: Route) -> Route {
        let json = |bytes| Document::new("application/json", bytes, None);
        route
            .at("/openapi.json", get(json(self.openapi).endpoint()))
            .at("/openapi-3.0.json", get(json(self.openapi_3_0).endpoint()))
            .at("/asyncapi.yaml", get(Document::new("application/yaml", self.asyncapi, None).endpoint()))
            .at("/docs", get(make_sync(|request: Request| PAGE.answer(request.headers()))))
    }
}

/// The page: 1.6 MB, so made when first asked for, not while the process starts.
static PAGE: LazyLock<Document> = LazyLock::new(|| {
    let page = page();
    let policy = policy(&page);
    Document::new("text/html; charset=utf-8", page.into(), Some(policy))
});

/// The page runs and shows what it brings, byte for byte, and speaks to this server only.
fn policy(page: &str) -> String {
    let (scripts, styles) = (hashes(page, "script"), hashes(page, "style"));
    format!(
        "default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The contents of every `tag` of the page, as hashes of CSP (§2.3.1).
fn hashes(page: &str, tag: &str) -> String {
    let (opening, closing) = (format!("<{tag}"), format!("</{tag}>"));
    let (mut hashes, mut rest) = (Vec::new(), page);
    while let Some((_, after)) = rest.split_once(&opening) {
        let Some((content, after)) = after.split_once('>').and_then(|(_, inner)| inner.split_once(&closing))
        else {
            break;
        };
        hashes.push(format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(content))));
        rest = after;
    }
    hashes.join(" ")
}

/// One document and the tag that stands for its bytes.
#[derive(Clone)]
struct Document {
    content_type: &'static str,
    bytes: Bytes,
    etag: String,
    policy: Option<String>,
}

impl Document {
    fn new(content_type: &'static str, bytes: Bytes, policy: Option<String>) -> Self {
        let digest = Sha256::digest(&bytes);
        let etag =
            digest.iter().take(16).fold(String::from("\""), |tag, byte| format!("{tag}{byte:02x}")) + "\"";
        Self { content_type, bytes, etag, policy }
    }

    fn endpoint(self) -> impl poem::Endpoint<Output = Response> {
        make_sync(move |request: Request| self.answer(request.headers()))
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let response =
            Response::builder().header(header::ETAG, &self.etag).header(header::CACHE_CONTROL, "no-cache");
        // Also where nothing has changed: what a browser has then takes over the new fields (RFC 9111 §3.2).
        let response = match &self.policy {
            Some(policy) => response.header(header::CONTENT_SECURITY_POLICY, policy),
            None => response,
        };
        if self.is_known(asked) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.content_type(self.content_type).body(self.bytes.clone())
    }

    /// RFC 9110 §13.1.2: compared weakly, so that a tag of the compressed form counts, too.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let values = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
    }
}

fn page() -> String {
    let page = OpenApiService::new((), "Polylogue", VERSION).swagger_ui_html();
    page.replacen(INLINE, BY_ADDRESS, 1).replacen("<head>", NO_ICON, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_reads_the_document_beside_it_and_nothing_from_elsewhere() {
        let page = page();
        assert!(page.contains(BY_ADDRESS) && !page.contains(INLINE));
        assert!(page.contains(NO_ICON));
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"));
    }

    #[test]
    fn the_policy_lets_run_what_the_page_brings_and_nothing_else() {
        let policy = policy("<style a>p{}</style><script b>one<script></script><p><script>two</script>");
        let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
        let scripts = format!("script-src {} {};", hash("one<script>"), hash("two"));
        assert!(policy.contains(&scripts), "{policy}");
        assert!(policy.contains(&format!("style-src {};", hash("p{}"))), "{policy}");
        assert!(!policy.contains("unsafe"));
        let document = Document::new("text/html", Bytes::new(), Some(policy.clone()));
        let mut known = HeaderMap::new();
        known.insert(header::IF_NONE_MATCH, "*".parse().unwrap());
        assert_eq!(document.answer(&known).header("content-security-policy"), Some(policy.as_str()));
    }

    #[test]
    fn a_document_that_is_known_is_not_sent_again() {
        let document = Document::new("application/json", Bytes::from_static(b"{}"), None);
        let ask = |tags: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, tags.parse().unwrap());
            document.answer(&headers).status()
        };
        assert_eq!(ask(&document.etag), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&format!("\"other\", W/{}", document.etag)), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("*"), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("\"other\""), StatusCode::OK);
    }
}
