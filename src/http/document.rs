//! stub
/// stub
pub fn openapi_31() -> serde_json::Value {
    super::api::spec()
}
/// stub
pub fn openapi_30() -> serde_json::Value {
    openapi_31()
}
