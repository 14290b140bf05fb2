//! Where Redis is, whichever way the operator said it.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Redis, RedisMode};

/// What Redis and Sentinel listen on, where nothing else is said.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where Redis is and who we are there.
#[derive(Clone, Debug)]
pub struct PlaceOfRedis {
    /// How the hosts are to be understood.
    pub mode: RedisMode,
    /// Redis, the sentinels, or some nodes of the cluster; at least one.
    pub hosts: Vec<(String, u16)>,
    /// The name the sentinels give the primary; empty without Sentinel.
    pub primary: String,
    /// The database's number.
    pub database: u16,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Who we are.
    pub username: Option<String>,
    /// How we prove it.
    pub password: Option<SecretString>,
}

impl Redis {
    /// Where Redis is; `None` if there is none. The reason for a refusal never repeats what was written: it may hold a
    /// password.
    pub fn place(&self) -> Result<Option<PlaceOfRedis>, &'static str> {
        let place = match &self.url {
            Some(_) if !self.hosts.is_empty() => return Err("is given beside redis.hosts: give one of them"),
            Some(url) => PlaceOfRedis::parse(url.expose_secret())?,
            None if self.hosts.is_empty() => return Ok(None),
            None => self.written_out()?,
        };
        let username = place.username.clone().or_else(|| self.username.clone());
        let password = place.password.clone().or_else(|| self.password.clone());
        PlaceOfRedis { username, password, ..place }.checked().map(Some)
    }

    fn written_out(&self) -> Result<PlaceOfRedis, &'static str> {
        Ok(PlaceOfRedis {
            mode: self.mode,
            hosts: hosts(self.hosts.iter().map(String::as_str), self.mode)?,
            primary: self.primary.clone().unwrap_or_default(),
            database: self.database,
            tls: self.tls,
            username: None,
            password: None,
        })
    }
}

impl PlaceOfRedis {
    fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or(NOT_A_URL)?;
        let (mode, tls) = match scheme {
            "redis" => (RedisMode::Standalone, false),
            "rediss" => (RedisMode::Standalone, true),
            "redis+sentinel" => (RedisMode::Sentinel, false),
            "rediss+sentinel" => (RedisMode::Sentinel, true),
            "redis+cluster" => (RedisMode::Cluster, false),
            "rediss+cluster" => (RedisMode::Cluster, true),
            _ => return Err(NOT_A_URL),
        };
        if rest.contains(['?', '#']) {
            return Err("must have no query and no fragment");
        }
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (primary, database) = match mode {
            RedisMode::Sentinel => path.split_once('/').unwrap_or((path, "")),
            RedisMode::Standalone | RedisMode::Cluster => ("", path),
        };
        let (username, password) = user.map_or(Ok((None, None)), credentials)?;
        Ok(Self {
            mode,
            hosts: hosts(authority.split(','), mode)?,
            primary: primary.to_owned(),
            database: number(database).ok_or("must end in the number of a database, if in anything")?,
            tls,
            username,
            password,
        })
    }

    fn checked(self) -> Result<Self, &'static str> {
        match self.mode {
            RedisMode::Standalone if self.hosts.len() > 1 => {
                Err("must name one host, unless there is Sentinel or a Cluster")
            }
            RedisMode::Sentinel if self.primary.is_empty() => {
                Err("must name the primary that the sentinels watch")
            }
            RedisMode::Cluster if self.database != 0 => Err("must use database 0: a Cluster has no other"),
            RedisMode::Standalone | RedisMode::Sentinel | RedisMode::Cluster => Ok(self),
        }
    }
}

const NOT_A_URL: &str = "must begin with redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://";
const NOT_A_HOST: &str = "must name hosts as host:port";

fn credentials(user: &str) -> Result<(Option<String>, Option<SecretString>), &'static str> {
    let text = |part: &str| {
        let text =
            percent_decode_str(part).decode_utf8().map_err(|_| "must hold user and password in UTF-8")?;
        Ok::<_, &'static str>((!text.is_empty()).then(|| text.into_owned()))
    };
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    Ok((text(username)?, text(password)?.map(SecretString::from)))
}

fn hosts<'a>(
    written: impl Iterator<Item = &'a str>,
    mode: RedisMode,
) -> Result<Vec<(String, u16)>, &'static str> {
    let usual = if mode == RedisMode::Sentinel { SENTINEL_PORT } else { PORT };
    written.map(|host| host_and_port(host.trim(), usual).ok_or(NOT_A_HOST)).collect()
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
fn host_and_port(text: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, port)| (host, port.strip_prefix(':')))?,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let port = port.map_or(Some(usual), |port| port.parse().ok())?;
    (!host.is_empty() && host.bytes().all(plain)).then(|| (host.to_owned(), port))
}

fn number(text: &str) -> Option<u16> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn place(url: &str) -> Result<PlaceOfRedis, &'static str> {
        let mut redis = Config::default().redis;
        redis.url = Some(SecretString::from(url.to_owned()));
        redis.place().map(Option::unwrap)
    }

    fn at(host: &str, port: u16) -> (String, u16) {
        (host.to_owned(), port)
    }

    #[test]
    fn a_url_says_where_redis_is_in_each_of_its_shapes() {
        let plain = place("redis://cache").unwrap();
        assert_eq!(
            (plain.mode, plain.hosts, plain.tls),
            (RedisMode::Standalone, vec![at("cache", 6379)], false)
        );

        let full = place("rediss://us%40er:p%3Ass@[::1]:7000/3").unwrap();
        assert_eq!((full.hosts, full.database, full.tls), (vec![at("::1", 7000)], 3, true));
        assert_eq!(full.username.as_deref(), Some("us@er"));
        assert_eq!(full.password.unwrap().expose_secret(), "p:ss");

        let watched = place("redis+sentinel://:secret@one,two:7000/mymaster/2").unwrap();
        assert_eq!(watched.hosts, [at("one", 26379), at("two", 7000)]);
        assert_eq!((watched.primary.as_str(), watched.database, watched.username), ("mymaster", 2, None));

        let cluster = place("rediss+cluster://one:7000,two:7001").unwrap();
        assert_eq!((cluster.mode, cluster.hosts.len(), cluster.tls), (RedisMode::Cluster, 2, true));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_repeating_it() {
        for wrong in [
            "http://cache",
            "cache:6379",
            "redis://",
            "redis://a,b",
            "redis://a/x",
            "redis://a:99999",
            "redis://a/1?x=y",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redis://user:secret@ho st",
        ] {
            let reason = place(wrong).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn settings_say_the_same_as_a_url() {
        let mut redis = Config::default().redis;
        assert!(redis.place().unwrap().is_none());
        (redis.hosts, redis.mode, redis.tls) =
            (vec!["one".into(), "two:7000".into()], RedisMode::Sentinel, true);
        assert!(redis.place().is_err());
        (redis.primary, redis.username) = (Some("mymaster".into()), Some("polylogue".into()));
        let place = redis.place().unwrap().unwrap();
        assert_eq!(place.hosts, [at("one", 26379), at("two", 7000)]);
        assert_eq!(place.username.as_deref(), Some("polylogue"));
        redis.url = Some(SecretString::from("redis://three".to_owned()));
        assert!(redis.place().is_err());
    }
}
