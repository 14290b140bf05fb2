//! Which paths exist and which methods they have, known before a request is routed: for `Allow`, for the name of the
//! operation in limits, and for metrics, whose route label must never be made of what a client sent.

use poem::http::{HeaderValue, Method};
use poem_openapi::OpenApi;

use crate::telemetry::metrics::{self, Name};

/// Everything a port serves.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
}

/// One path pattern and its methods.
#[derive(Clone, Debug)]
pub(super) struct Route {
    segments: Vec<Segment>,
    pub(super) pattern: String,
    pub(super) label: Name,
    pub(super) allow: HeaderValue,
    /// The names of its parameters, in order.
    pub(super) parameters: Vec<String>,
    /// Its methods, each with the name of its operation: `POST /api/v1/chat`.
    operations: Vec<(Method, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Fixed(String),
    Parameter(String),
}

impl Segment {
    fn parse(text: &str) -> Self {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match inner.or_else(|| text.strip_prefix(':')) {
            Some(name) => Self::Parameter(name.to_owned()),
            None => Self::Fixed(text.to_owned()),
        }
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Fixed(fixed) => fixed == text,
            Self::Parameter(_) => !text.is_empty(),
        }
    }

    fn parameter(&self) -> Option<&str> {
        match self {
            Self::Fixed(_) => None,
            Self::Parameter(name) => Some(name),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Fixed(fixed) => fixed.clone(),
            Self::Parameter(name) => format!("{{{name}}}"),
        }
    }
}

impl RouteTable {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path; `{name}` (or `:name`) stands for one segment. HEAD follows from GET, OPTIONS from being there.
    #[must_use]
    pub fn at(mut self, path: &str, methods: impl IntoIterator<Item = Method>) -> Self {
        let segments: Vec<_> = path.split('/').map(Segment::parse).collect();
        let pattern = segments.iter().map(Segment::text).collect::<Vec<_>>().join("/");
        let index = self.routes.iter().position(|route| route.pattern == pattern).unwrap_or_else(|| {
            self.routes.push(Route::new(segments, pattern));
            self.routes.len() - 1
        });
        if let Some(route) = self.routes.get_mut(index) {
            route.add(methods);
        }
        // Fixed segments before parameters: `/conversations/new` is not the conversation `new`.
        self.routes.sort_by(|a, b| a.segments.cmp(&b.segments));
        self
    }

    /// Adds every operation of an API below `prefix`.
    #[must_use]
    pub fn api<T: OpenApi>(self, prefix: &str) -> Self {
        let paths = T::meta().into_iter().flat_map(|api| api.paths);
        let operations =
            paths.flat_map(|path| path.operations.into_iter().map(move |it| (path.path.clone(), it.method)));
        operations.fold(self, |table, (path, method)| table.at(&format!("{prefix}{path}"), [method]))
    }

    /// The names of all operations that policies may be asked for: `POST /api/v1/chat`.
    pub fn limited_operations(&self) -> Vec<&str> {
        let limited = self.routes.iter().filter(|route| route.is_limited());
        limited.flat_map(|route| &route.operations).map(|(_, operation)| operation.as_str()).collect()
    }

    /// Lets every operation's faults begin at zero, so that a first one is seen as an increase.
    pub(super) fn touch(&self, http: &metrics::Http) {
        for route in self.routes.iter().filter(|route| route.is_limited()) {
            for (method, _) in &route.operations {
                for status in ["500", "503"] {
                    http.requests.touch(&(method.into(), route.label.clone(), status.into()));
                }
            }
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.matches(path))
    }
}

impl Route {
    fn new(segments: Vec<Segment>, pattern: String) -> Self {
        let label = Name::from(pattern.as_str());
        let parameters = segments.iter().filter_map(Segment::parameter).map(str::to_owned).collect();
        let allow = HeaderValue::from_static("OPTIONS");
        Self { segments, pattern, label, allow, parameters, operations: Vec::new() }
    }

    fn add(&mut self, methods: impl IntoIterator<Item = Method>) {
        for method in methods {
            let operation = format!("{method} {}", self.pattern);
            self.operations.push((method, operation));
        }
        let mut allowed: Vec<&str> = self.operations.iter().map(|(method, _)| method.as_str()).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        allowed.push("OPTIONS");
        if let Ok(allow) = HeaderValue::from_str(&allowed.join(", ")) {
            self.allow = allow;
        }
    }

    fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/');
        self.segments.iter().all(|segment| given.next().is_some_and(|text| segment.takes(text)))
            && given.next().is_none()
    }

    /// The name of what `method` does here.
    pub(super) fn operation(&self, method: &Method) -> Option<&str> {
        let (_, operation) = self.operations.iter().find(|(known, _)| known == method)?;
        Some(operation)
    }

    /// Everything that may be asked of it, HEAD and OPTIONS too.
    pub(super) fn methods(&self) -> impl Iterator<Item = &str> {
        self.allow.to_str().unwrap_or_default().split(", ")
    }

    /// Whether the policies may be asked at all: probes and documents are never limited.
    pub(super) fn is_limited(&self) -> bool {
        self.pattern.starts_with("/api/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        RouteTable::new()
            .at("/api/turns/{turn_id}", [Method::GET])
            .at("/api/turns/:turn_id/cancel", [Method::POST])
            .at("/api/turns/newest", [Method::GET])
            .at("/api/turns/newest", [Method::DELETE])
    }

    fn pattern(path: &str) -> Option<String> {
        table().find(path).map(|route| route.pattern.clone())
    }

    #[test]
    fn a_parameter_is_one_segment_and_fixed_ones_come_first() {
        assert_eq!(pattern("/api/turns/7").as_deref(), Some("/api/turns/{turn_id}"));
        assert_eq!(pattern("/api/turns/newest").as_deref(), Some("/api/turns/newest"));
        assert_eq!(pattern("/api/turns/7/cancel").as_deref(), Some("/api/turns/{turn_id}/cancel"));
        for unknown in ["/api/turns/", "/api/turns", "/api/turns/7/", "/api/turns/7/cancel/x", "", "*"] {
            assert_eq!(pattern(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn allow_lists_what_there_is_and_what_follows_from_it() {
        let table = table();
        assert_eq!(table.find("/api/turns/newest").unwrap().allow, "GET, DELETE, HEAD, OPTIONS");
        let cancel = table.find("/api/turns/7/cancel").unwrap();
        assert_eq!(cancel.allow, "POST, OPTIONS");
        assert_eq!(cancel.operation(&Method::POST), Some("POST /api/turns/{turn_id}/cancel"));
        assert_eq!(cancel.operation(&Method::GET), None);
    }
}
