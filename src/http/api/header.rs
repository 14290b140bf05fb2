//! Header parameters as they were sent.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::http::wire::Sent;

/// An optional header, documented as a `T`. poem-openapi's own takes a header that is not ASCII for an absent one, and the
/// first of several for the only one; a key or a position that is silently lost starts a second turn.
pub struct SentHeader<T>(pub Option<Sent<T>>);

impl<'a, T: Type> ApiExtractor<'a> for SentHeader<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let lines = request.headers().get_all(options.name).iter();
        let texts: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        Ok(Self((!texts.is_empty()).then(|| Sent::new(texts.join(", ")))))
    }
}
