//! Who is connected to: one Redis, whichever the sentinels name, or a Cluster.

use std::path::Path;
use std::sync::Arc;

use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;

use super::error::WrongRedis;
use super::link::Wire;
use crate::config::{self, PlaceOfRedis, RedisMode};

/// Somebody to connect to.
pub(super) struct Target {
    who: Who,
    connecting: AsyncConnectionConfig,
}

enum Who {
    One(Box<Client>),
    /// Asked for the primary at every connection; asking changes the client.
    Watched(Arc<Mutex<SentinelClient>>),
    Many(Box<ClusterClient>),
}

impl Target {
    pub(super) fn new(place: PlaceOfRedis, settings: &config::Redis) -> Result<Self, WrongRedis> {
        // Time-outs of answers are ours: one for all, whatever the connection is.
        let connecting = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(*settings.connect_timeout))
            .set_response_timeout(Some(*settings.timeout));
        let certificates = certificates(settings)?;
        let who = match place.mode {
            RedisMode::Standalone => {
                one(&place, certificates.as_ref()).map(|client| Who::One(Box::new(client)))
            }
            RedisMode::Sentinel => watched(&place, settings, certificates.as_ref()).map(Who::Watched),
            RedisMode::Cluster => {
                many(&place, settings, certificates).map(|client| Who::Many(Box::new(client)))
            }
        };
        Ok(Self { who: who.map_err(WrongRedis::Client)?, connecting })
    }

    pub(super) async fn connect(&self) -> RedisResult<Wire> {
        match &self.who {
            Who::One(client) => {
                client.get_multiplexed_async_connection_with_config(&self.connecting).await.map(Wire::Single)
            }
            Who::Watched(client) => {
                let client = client.lock().await.async_get_client().await?;
                client.get_multiplexed_async_connection_with_config(&self.connecting).await.map(Wire::Single)
            }
            Who::Many(client) => client.get_async_connection().await.map(Wire::Cluster),
        }
    }
}

fn one(place: &PlaceOfRedis, certificates: Option<&TlsCertificates>) -> RedisResult<Client> {
    let [address] = &addresses(place)[..] else { return Err(no_host()) };
    let mut who = RedisConnectionInfo::default().set_db(i64::from(place.database));
    if let Some(username) = &place.username {
        who = who.set_username(username);
    }
    if let Some(password) = &place.password {
        who = who.set_password(password.expose_secret());
    }
    let info = address.clone().into_connection_info()?.set_redis_settings(who);
    match certificates.filter(|_| place.tls) {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

fn watched(
    place: &PlaceOfRedis,
    settings: &config::Redis,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<Arc<Mutex<SentinelClient>>> {
    let sentinels = addresses(place);
    let mut builder = SentinelClientBuilder::new(sentinels, &place.primary, SentinelServerType::Master)?
        .set_client_to_redis_db(i64::from(place.database));
    if let Some(username) = &place.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &place.password {
        builder = builder.set_client_to_redis_password(password.expose_secret());
    }
    if let Some(username) = &settings.sentinel_username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &settings.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password.expose_secret());
    }
    if place.tls {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
    }
    builder.build().map(|client| Arc::new(Mutex::new(client)))
}

fn many(
    place: &PlaceOfRedis,
    settings: &config::Redis,
    certificates: Option<TlsCertificates>,
) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClientBuilder::new(addresses(place))
        .connection_timeout(*settings.connect_timeout)
        .response_timeout(*settings.timeout)
        .overall_response_timeout(Some(*settings.timeout))
        // One more try after a slot has moved or a node has gone; more would outlast the time-out.
        .retries(2)
        .min_retry_wait(5)
        .max_retry_wait(50);
    if let Some(username) = &place.username {
        builder = builder.username(username);
    }
    if let Some(password) = &place.password {
        builder = builder.password(password.expose_secret());
    }
    if place.tls {
        builder = builder.tls(TlsMode::Secure);
    }
    if let Some(certificates) = certificates.filter(|_| place.tls) {
        builder = builder.certs(certificates);
    }
    builder.build()
}

fn addresses(place: &PlaceOfRedis) -> Vec<ConnectionAddr> {
    let address = |(host, port): &(String, u16)| match place.tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    };
    place.hosts.iter().map(address).collect()
}

fn no_host() -> ::redis::RedisError {
    (::redis::ErrorKind::InvalidClientConfig, "one host is needed").into()
}

/// Whom we believe and who we are; `None` where the system's authorities are enough and nobody asks who we are.
fn certificates(settings: &config::Redis) -> Result<Option<TlsCertificates>, WrongRedis> {
    let root_cert = settings.ca_file.as_deref().map(|path| read("redis.ca_file", path)).transpose()?;
    let client_tls = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            let (client_cert, client_key) = (read("redis.cert_file", cert)?, read("redis.key_file", key)?);
            Some(ClientTlsConfig { client_cert, client_key })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(WrongRedis::Settings("needs cert_file and key_file together"));
        }
    };
    let any = root_cert.is_some() || client_tls.is_some();
    Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, WrongRedis> {
    std::fs::read(path)
        .map_err(|error| WrongRedis::File(format!("{key}: cannot read {}: {error}", path.display())))
}
