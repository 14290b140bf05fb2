//! Nothing of what a caller sends comes back in an error: every place of every documented operation gets a canary.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::TestApp;

/// What is looked for, however it is cased or encoded: letters that are in no text of ours.
const CANARY: &str = "zqxjkv";
/// How a canary is dressed: as a plain word that passes for an id, as markup, as a header that would begin a new line once
/// decoded, and as a template.
const GUISES: [&str; 5] = ["zqxjkv", "ZQXJKV", "<b>zqxjkv</b>", "\"zqxjkv\\u0000", "zqxjkv{{7*7}}"];

struct Operation {
    method: Method,
    path: String,
    parameters: Vec<(String, String)>,
    body: Option<Value>,
}

/// All of the document, with an example of each body.
fn operations() -> Vec<Operation> {
    let document = polylogue::http::document::openapi_31(None);
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.map(|it| (text(&it["in"]), text(&it["name"]))).collect();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let body = schema.as_str().map(|name| example(&document, name));
            let method = method.to_uppercase().parse().unwrap();
            all.push(Operation { method, path: path.clone(), parameters, body });
        }
    }
    all
}

/// An object with every member of a schema, each of them a canary's perch.
fn example(document: &Value, reference: &str) -> Value {
    let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
    let members = schema["properties"].as_object().unwrap().keys();
    members.map(|name| (name.clone(), Value::Null)).collect::<Map<_, _>>().into()
}

/// One request of an operation: something to be sent, and what it should be called when it fails.
type Attempt = (Method, String, Vec<(String, String)>, Option<String>);

fn attempts(operation: &Operation, guise: &str) -> Vec<Attempt> {
    let encoded: String = guise.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let named = |place: &'static str| operation.parameters.iter().filter(move |(at, _)| at == place);
    let mut path = operation.path.clone();
    for (_, name) in named("path") {
        path = path.replace(&format!("{{{name}}}"), &encoded);
    }
    let query: Vec<_> = named("query").map(|(_, name)| format!("{name}={encoded}")).collect();
    let strange = format!("{path}?{encoded}={encoded}&ticket={encoded}&{}", query.join("&"));
    let visible: String = guise.chars().filter(|c| c.is_ascii_graphic()).collect();
    let known = [
        "Accept",
        "Content-Type",
        "Cookie",
        "Authorization",
        "If-None-Match",
        "Origin",
        "Range",
        "Expect-CT",
    ];
    let headers = named("header").map(|(_, name)| name.as_str()).chain(known).chain(["X-Zqxjkv"]);
    let headers: Vec<_> = headers.map(|name| (name.to_owned(), visible.clone())).collect();

    let method = || operation.method.clone();
    let mut all = vec![
        (method(), path.clone(), vec![], None),
        (method(), strange, vec![], None),
        (Method::from_bytes(b"ZQXJKV").unwrap(), path.clone(), vec![], None),
        (method(), format!("{path}/{encoded}"), vec![], None),
    ];
    all.extend(headers.iter().map(|header| (method(), path.clone(), vec![header.clone()], None)));
    let plain = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    for body in operation.body.iter().flat_map(|example| bodies(example, guise)) {
        all.push((method(), path.clone(), plain.clone(), Some(body)));
    }
    all
}

/// Bodies that are wrong in one place, and bodies that are no such thing at all.
fn bodies(example: &Value, guise: &str) -> Vec<String> {
    let right = json!({"message": "hello", "role": "user", "content": "hello"});
    let known = |name: &str| right.get(name).filter(|_| example.get(name).is_some());
    let base: Map<_, _> = right
        .as_object()
        .unwrap()
        .keys()
        .filter_map(|name| Some((name.clone(), known(name)?.clone())))
        .collect();
    let mut all = vec![
        guise.to_owned(),
        format!("{{\"{CANARY}\""),
        json!([guise]).to_string(),
        json!(guise).to_string(),
    ];
    let names = example.as_object().unwrap().keys().map(String::as_str).chain([guise]);
    for name in names {
        for value in [json!({guise: guise}), json!([guise, 1]), json!({guise: {guise: 1}})] {
            let mut body = base.clone();
            body.insert(name.to_owned(), value);
            all.push(Value::Object(body).to_string());
        }
    }
    all
}

#[tokio::test]
async fn no_error_has_anything_of_the_request_in_it() {
    let app = TestApp::start().await;
    let (mut asked, mut refused) = (0, 0);
    for operation in operations() {
        for guise in GUISES {
            for (method, path, headers, body) in attempts(&operation, guise) {
                let mut request = app.client.request(method.clone(), app.url(&path));
                for (name, value) in &headers {
                    request = request.header(name, value);
                }
                let request = match &body {
                    Some(body) => request.body(body.clone()),
                    None => request,
                };
                let response = request.send().await.unwrap();
                asked += 1;
                if response.status().as_u16() < 400 {
                    continue;
                }
                refused += 1;
                let told = format!("{:?}", response.headers()) + &response.text().await.unwrap();
                let shown = format!("{method} {path} {headers:?} {body:?}");
                assert!(!told.to_lowercase().contains(CANARY), "{shown}: {told}");
            }
        }
    }
    assert!(refused > 500 && asked > refused, "{refused} of {asked}");
}
