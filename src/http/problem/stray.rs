//! Errors that are nobody's problem yet: those of poem, of poem-openapi, of handlers that answer with a bare status.
//! Their own texts echo the input and name Rust types; what a client reads is written here.

use std::sync::Arc;

use poem::error::{MethodNotAllowedError, NotFoundError, ParseJsonError, ReadBodyError, WebSocketError};
use poem::http::{HeaderMap, StatusCode};
use poem::{Error, Response};
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError,
};

use super::answer::put_headers;
use super::{Fault, PROBLEM_JSON, Problem};
use crate::words::{ErrorCode, Failure, RequestId};

impl Problem {
    /// The answer to a request whose handling ended in `error`, whatever that is. `parameters` are the names of the
    /// path's parameters: poem-openapi calls them `param0`, `param1`…
    pub fn answer_to(error: Error, request_id: &RequestId, parameters: &[String]) -> Response {
        let more = error.data::<HeaderMap>().cloned();
        if error.is_from_response() {
            return Self::in_form(error.into_response(), request_id);
        }
        let mut problem = Self::of(error);
        for fault in &mut problem.errors {
            let numbered = fault.parameter.as_ref().and_then(|name| name.strip_prefix("param")?.parse().ok());
            let named = numbered.and_then(|number: usize| parameters.get(number));
            fault.parameter = named.cloned().or(fault.parameter.take());
        }
        let mut response = problem.into_response(request_id);
        put_headers(&mut response, more);
        response
    }

    /// An answer that reports an error in another form becomes a problem; any other is left alone.
    pub fn in_form(response: Response, request_id: &RequestId) -> Response {
        let status = response.status();
        let is_error = status.is_client_error() || status.is_server_error();
        if !is_error || response.content_type().is_some_and(|it| it.starts_with(PROBLEM_JSON)) {
            return response;
        }
        Self::from(by_status(status)).into_response(request_id)
    }

    /// What `error` is, in words a client may read.
    pub fn of(error: Error) -> Self {
        if let Some(problem) = error.data::<Self>() {
            return problem.clone();
        }
        let known = of_request(&error).or_else(|| of_routing(&error).map(Self::from));
        let mut problem = known.unwrap_or_else(|| by_status(error.status()).into());
        if problem.status().is_server_error() {
            problem.cause = Some(Arc::new(error));
        }
        problem
    }
}

/// Something is wrong with what was sent.
fn of_request(error: &Error) -> Option<Problem> {
    if let Some(error) = error.downcast_ref::<ParseRequestPayloadError>() {
        return Some(bad_body(&error.reason));
    }
    if let Some(error) = error.downcast_ref::<ParseJsonError>() {
        return Some(bad_body(&error.to_string()));
    }
    if let Some(error) = error.downcast_ref::<ParseParamError>() {
        return Some(bad_parameter(error.name));
    }
    if let Some(error) = error.downcast_ref::<ParsePathError>() {
        return Some(bad_parameter(error.name));
    }
    if error.is::<ContentTypeError>() {
        let detail = "The body must be JSON, with Content-Type: application/json.";
        return Some(Failure::new(ErrorCode::UnsupportedMediaType, detail).into());
    }
    match error.downcast_ref::<ReadBodyError>()? {
        ReadBodyError::PayloadTooLarge => Some(by_status(StatusCode::PAYLOAD_TOO_LARGE).into()),
        ReadBodyError::Utf8(_) => {
            Some(Failure::new(ErrorCode::InvalidRequest, "The body must be UTF-8.").into())
        }
        ReadBodyError::Io(_) => {
            Some(Failure::new(ErrorCode::InvalidRequest, "The body could not be read to its end.").into())
        }
        ReadBodyError::BodyHasBeenTaken => None,
    }
}

/// The request came to the wrong place, or by the wrong person.
fn of_routing(error: &Error) -> Option<Failure> {
    if error.is::<NotFoundError>() {
        Some(by_status(StatusCode::NOT_FOUND))
    } else if error.is::<MethodNotAllowedError>() {
        Some(by_status(StatusCode::METHOD_NOT_ALLOWED))
    } else if error.is::<AuthorizationError>() {
        Some(by_status(StatusCode::UNAUTHORIZED))
    } else if error.is::<WebSocketError>() {
        Some(by_status(StatusCode::UPGRADE_REQUIRED))
    } else {
        None
    }
}

fn bad_body(reason: &str) -> Problem {
    let detail = match place_in_json(reason) {
        Some((line, column)) => format!("The body is not valid JSON: line {line}, column {column}."),
        None => "The body does not have the members that this operation reads.".to_owned(),
    };
    Failure::new(ErrorCode::InvalidRequest, detail).into()
}

/// Where serde_json stopped: the only part of its message that holds nothing of the input.
fn place_in_json(reason: &str) -> Option<(u32, u32)> {
    let (_, place) = reason.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// poem-openapi does not say where a parameter came from; ours are in `snake_case` where they are not headers.
fn bad_parameter(name: &'static str) -> Problem {
    let detail = "is missing or not valid";
    let is_header = name.contains('-') || name.chars().any(char::is_uppercase);
    let fault = if is_header { Fault::header(name, detail) } else { Fault::parameter(name, detail) };
    let problem =
        Problem::from(Failure::new(ErrorCode::InvalidRequest, "A parameter is missing or not valid."));
    Problem { errors: vec![fault], ..problem }
}

/// What a bare status means here.
pub(super) fn by_status(status: StatusCode) -> Failure {
    let (code, detail) = match status.as_u16() {
        401 => (ErrorCode::Unauthenticated, "Say who you are."),
        403 => (ErrorCode::Forbidden, "This caller may not do this."),
        404 => (ErrorCode::NotFound, "There is nothing at this path."),
        405 => (ErrorCode::MethodNotAllowed, "The header Allow lists the methods of this path."),
        406 => (ErrorCode::NotAcceptable, "None of the accepted media types can be produced."),
        408 => (ErrorCode::RequestTimeout, "The body did not arrive in time."),
        413 => (ErrorCode::PayloadTooLarge, "The body is larger than this server takes."),
        415 => {
            (ErrorCode::UnsupportedMediaType, "The body must be JSON, with Content-Type: application/json.")
        }
        426 => (ErrorCode::UpgradeRequired, "This path speaks WebSocket only."),
        429 => (ErrorCode::RateLimited, "Too many requests; wait before the next."),
        503 => (ErrorCode::Overloaded, "This server has all the work it can take."),
        400..500 => (ErrorCode::InvalidRequest, "The request is not what this operation reads."),
        _ => (ErrorCode::Internal, "The log of the server knows more."),
    };
    Failure::new(code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(error: impl Into<Error>) -> (ErrorCode, String) {
        let failure = Problem::of(error.into()).failure;
        (failure.code, failure.detail)
    }

    #[test]
    fn a_body_that_is_not_json_is_told_the_place_and_nothing_else() {
        let reason = serde_json::from_str::<serde_json::Value>("{\"secret").unwrap_err().to_string();
        let (code, text) = detail(ParseRequestPayloadError { reason });
        assert_eq!(code, ErrorCode::InvalidRequest);
        assert_eq!(text, "The body is not valid JSON: line 1, column 8.");
    }

    #[test]
    fn neither_the_input_nor_our_types_are_in_what_a_client_reads() {
        let reason = "failed to parse \"ChatRequest\": unknown field `hunter2`".to_owned();
        let (_, text) = detail(ParseRequestPayloadError { reason });
        assert!(!text.contains("hunter2") && !text.contains("ChatRequest"), "{text}");
        let content_type = "text/hunter2".to_owned();
        let (code, text) = detail(ContentTypeError::NotSupported { content_type });
        assert_eq!(code, ErrorCode::UnsupportedMediaType);
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_bad_parameter_is_named_where_it_was() {
        let errors = |name| Problem::of(ParseParamError { name, reason: "hunter2".into() }.into()).errors;
        assert_eq!(errors("limit"), [Fault::parameter("limit", "is missing or not valid")]);
        assert_eq!(errors("Last-Event-ID"), [Fault::header("Last-Event-ID", "is missing or not valid")]);
    }

    #[test]
    fn every_error_status_becomes_a_code_of_its_class() {
        for status in 400..600_u16 {
            let code = by_status(StatusCode::from_u16(status).unwrap()).code;
            assert_eq!(code.status() / 100, status / 100, "{status}");
        }
    }
}
