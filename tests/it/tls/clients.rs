//! Client certificates.

use polylogue::config::ClientAuth;
use polylogue::telemetry::metrics::ConnectionEnd;

use super::rig::{Port, client, client_with, with_clients};
use crate::support::{Certificates, eventually};

struct Scene {
    ours: Certificates,
    port: Port,
}

async fn scene(auth: ClientAuth) -> Scene {
    let ours = Certificates::make();
    let port = Port::open(&with_clients(&ours, auth), |_| {}).await.unwrap();
    Scene { ours, port }
}

impl Scene {
    async fn is_served(&self, client: reqwest::Client) -> bool {
        self.port.ask(&client).await.is_ok()
    }

    fn nobody(&self) -> reqwest::Client {
        client(&self.ours).build().unwrap()
    }

    fn known(&self) -> reqwest::Client {
        client_with(&self.ours, &self.ours.pair("client"))
    }

    /// Somebody else's authority vouches for it.
    fn stranger(&self) -> reqwest::Client {
        client_with(&self.ours, &Certificates::make().pair("client"))
    }

    /// The right authority vouches for it, but as a server.
    fn server(&self) -> reqwest::Client {
        client_with(&self.ours, &self.ours.pair("server"))
    }

    async fn refused(&self, times: u64) {
        let closed = &self.port.metrics.connections.closed;
        eventually("all refusals are counted", async || closed.get(&(ConnectionEnd::TlsError,)) == times)
            .await;
    }
}

#[tokio::test]
async fn where_they_are_required_only_those_of_the_authority_are_served() {
    let scene = scene(ClientAuth::Required).await;
    assert!(scene.is_served(scene.known()).await);
    assert!(!scene.is_served(scene.nobody()).await);
    assert!(!scene.is_served(scene.stranger()).await);
    assert!(!scene.is_served(scene.server()).await);
    scene.refused(3).await;
}

#[tokio::test]
async fn where_they_are_optional_none_is_as_good_as_the_right_one_but_a_wrong_one_is_refused() {
    let scene = scene(ClientAuth::Optional).await;
    assert!(scene.is_served(scene.known()).await);
    assert!(scene.is_served(scene.nobody()).await);
    assert!(!scene.is_served(scene.stranger()).await);
    scene.refused(1).await;
}
