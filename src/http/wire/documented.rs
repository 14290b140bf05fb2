//! An answer whose schema is one type and whose bytes are another's.

use std::fmt;
use std::marker::PhantomData;

use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::Serialize;

/// Answers with the JSON of `S`, documented as `D`: nothing is mapped field by field.
pub struct Documented<D, S> {
    value: S,
    documented: PhantomData<fn() -> D>,
}

impl<D, S> Documented<D, S> {
    /// Answers with `value`.
    pub fn new(value: S) -> Self {
        Self { value, documented: PhantomData }
    }
}

impl<D, S> fmt::Debug for Documented<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documented")
    }
}

impl<D: Type, S: Send> Payload for Documented<D, S> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        D::schema_ref()
    }

    fn register(registry: &mut Registry) {
        D::register(registry);
    }
}

impl<D: Type, S: Serialize + Send> IntoResponse for Documented<D, S> {
    fn into_response(self) -> Response {
        // These values are maps with text keys: writing them cannot fail.
        let body = serde_json::to_vec(&self.value).unwrap_or_default();
        Response::builder().content_type(Self::CONTENT_TYPE).body(body)
    }
}
