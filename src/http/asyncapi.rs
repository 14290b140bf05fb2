//! stub
/// stub
pub fn yaml() -> String {
    String::new()
}
