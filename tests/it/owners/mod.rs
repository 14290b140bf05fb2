//! What is one principal's does not exist for any other: on the same replica and on another, in process and in Redis.
//!
//! Who asks is told to the doors as the edge tells them, so that this holds whatever way of authentication is used.

mod conversations;
mod dismissed;
mod stage;
mod turns;

const ADA: &str = "key:ada";
/// Another principal, although it has the same name.
const OTHER_ADA: &str = "subject:ada";
const BOB: &str = "key:bob";
/// Nobody in particular, and nobody in particular from elsewhere.
const NOBODY: &str = "address:192.0.2.1";
const NOBODY_ELSE: &str = "address:192.0.2.2";

/// Runs a claim in process and on Redis.
macro_rules! on_both {
    ($($claim:ident,)*) => {
        mod local {
            $(
                #[tokio::test]
                async fn $claim() { super::$claim(&crate::owners::stage::Service::local().await).await; }
            )*
        }
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() { super::$claim(&crate::owners::stage::Service::on_redis().await).await; }
            )*
        }
    };
}
use on_both;
