//! What the operator may say: the embedded default file, a file, the environment, flags; later wins.

mod aliases;
mod auth;
mod checks;
mod environment;
mod file;
mod leaf;
mod load;
mod origin;
mod place;
mod problem;
mod reference;
mod relations;
mod schema;
mod secret;
mod settings;
mod show;
#[cfg(test)]
mod tests;
mod tracing;
mod values;

pub use auth::{Auth, Jwt};
pub use load::{Effective, Flag, Sources};
pub use origin::{AllowedOrigin, without_own_port};
pub use place::PlaceOfRedis;
pub use problem::ConfigError;
pub use reference::reference_markdown;
pub use settings::*;
pub use tracing::{Compression, Exporter, Propagator, Protocol, Sampler, Tracing};
pub use values::{Bytes, KeyPrefix, PublicUrl, Span};

/// The commented reference, compiled in.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

impl Default for Config {
    /// What the embedded file says.
    #[expect(clippy::expect_used, reason = "the embedded file is part of the program; a test parses it")]
    fn default() -> Self {
        toml::from_str(DEFAULT_TOML).expect("the embedded default configuration parses")
    }
}
