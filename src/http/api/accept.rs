//! Whether an answer can be given in a form the caller takes (RFC 9110 §12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

use crate::http::problem::Problem;
use crate::words::{ErrorCode, Failure};

/// A form in which an operation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
}

impl Form {
    /// The ranges that include the form, and those of the problems that may come instead: a client that asks for a
    /// problem's type only would get what it asked for.
    fn ranges(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["*/*", "application/*", "application/json", "application/problem+json"],
            Self::Events => &["*/*", "text/*", "text/event-stream"],
        }
    }
}

/// Refuses a request whose `Accept` rules the form out. No header, an empty one and one that is not text take anything.
pub fn accepts(headers: &HeaderMap, form: Form) -> Result<(), Problem> {
    let mut asked = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    let taken = asked.any(|list| {
        list.split(',').map(str::trim).filter(|range| !range.is_empty()).any(|range| {
            any = true;
            takes(range, form)
        })
    });
    if taken || !any {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::NotAcceptable, "The answer is not of a type the request accepts.").into())
}

fn takes(range: &str, form: Form) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let refused = parts.any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.eq_ignore_ascii_case("q") && value.parse::<f32>().is_ok_and(|weight| weight == 0.0)
    });
    !refused && form.ranges().contains(&kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_what_its_accept_header_takes() {
        let asked = |accept: &str, form| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            accepts(&headers, form).is_ok()
        };
        assert!(accepts(&HeaderMap::new(), Form::Json).is_ok());
        assert!(asked("", Form::Events));
        assert!(asked("text/html, */*;q=0.1", Form::Json));
        assert!(asked("application/json;charset=utf-8", Form::Json));
        assert!(asked("Text/Event-Stream", Form::Events));
        assert!(!asked("text/event-stream", Form::Json));
        assert!(!asked("application/json", Form::Events));
        assert!(!asked("application/json;q=0", Form::Json));
    }

    #[test]
    fn fuzz_accept() {
        crate::fuzz::run("accept", |bytes| {
            let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return };
            let headers = HeaderMap::from_iter([(ACCEPT, value)]);
            for form in [Form::Json, Form::Events] {
                if let Err(problem) = accepts(&headers, form) {
                    assert!(!problem.to_json(&"id".parse().unwrap(), true).to_string().contains("hunter2"));
                }
            }
        });
    }
}
