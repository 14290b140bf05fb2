//! Whether the settings fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use toml::Table;

use super::leaf::{Key, Origin};
use super::problem::Problem;
use super::{AllowedOrigin, ClientAuth, Config, Jwt, Llm, Retry, Tls, Tracing};

/// A replica is dead only after it missed this many signs of life in a row (`state.md` §3).
const BEATS_PER_LEASE: u32 = 5;

/// Checks every relation; one that involves a value already known to be wrong is left out.
pub(super) fn check(
    config: &Config,
    origins: &BTreeMap<Key, Origin>,
    bad: &BTreeSet<Key>,
    problems: &mut Vec<Problem>,
) {
    let mut relations = Relations { origins, bad, problems };
    relations.addresses(config);
    relations.tls("server.tls", &config.server.tls);
    relations.tls("server.management_tls", &config.server.management_tls);
    relations.origins(config);
    relations.times(config);
    relations.counts(config);
    relations.limits(config);
    relations.upstreams(config);
    relations.texts(config);
    relations.tokens(&config.auth.jwt);
    relations.tracing(&config.tracing);
}

/// A policy that is not in the default file must say how many and within how long.
pub(super) fn incomplete_policies(
    table: &Table,
    origins: &BTreeMap<Key, Origin>,
    bad: &BTreeSet<Key>,
    problems: &mut Vec<Problem>,
) {
    let policies = Key::dotted("limits.policies");
    for (name, policy) in policies.find(table).and_then(toml::Value::as_table).into_iter().flatten() {
        let policy_key = policies.child(name);
        let origin =
            origins.iter().find(|(key, _)| key.0.starts_with(&policy_key.0)).map(|(_, origin)| origin);
        for part in ["quota", "window"] {
            let missing = policy.get(part).is_none() && !bad.contains(&policy_key.child(part));
            if let (true, Some(origin)) = (missing, origin) {
                problems.push(Problem::at(origin, format!("{} is missing", policy_key.child(part))));
            }
        }
    }
}

/// What is allowed, but probably not meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.server.grace <= config.turns.deadline {
        warnings.push(format!(
            "server.grace ({}) is not above turns.deadline ({}): a stop may cut turns short",
            config.server.grace, config.turns.deadline
        ));
    }
    if !config.auth.is_on() && !config.server.listen.ip().to_canonical().is_loopback() {
        warnings.push(format!(
            "authentication is off and server.listen is {}: everybody who can reach it may use the model at your cost and \
             read every conversation whose id they know; set auth.keys_file or auth.jwt.issuer, or let nobody reach it",
            config.server.listen
        ));
    }
    for upstream in without_model(&config.llm) {
        warnings.push(format!(
            "{upstream} is set without a model: personas that name none are asked for with an empty one, which most servers refuse; set \
             llm.model (or the upstream's own)"
        ));
    }
    warnings
}

/// Upstreams that have no model for who names none. An address alone stands for nothing; OpenAI's own has one.
fn without_model(llm: &Llm) -> Vec<String> {
    if llm.upstreams.is_empty() {
        let is_without = llm.base_url.is_some() && llm.model.is_none();
        return is_without.then(|| "llm.base_url".to_owned()).into_iter().collect();
    }
    let without = llm.upstreams.iter().filter(|upstream| upstream.model.is_none());
    without.map(|upstream| format!("the upstream {}", upstream.name)).collect()
}

struct Relations<'a> {
    origins: &'a BTreeMap<Key, Origin>,
    bad: &'a BTreeSet<Key>,
    problems: &'a mut Vec<Problem>,
}

impl Relations<'_> {
    /// `left` must stand in a relation to `right`; both are a key and its value.
    fn pair(&mut self, holds: bool, left: (&str, &dyn Display), must: &str, right: (&str, &dyn Display)) {
        let spoilt = [left.0, right.0].iter().any(|key| self.bad.contains(&Key::dotted(key)));
        if !holds && !spoilt {
            let text = format!("{} must be {must} {}", self.named(left), self.named(right));
            self.problems.push(Problem::relation(text));
        }
    }

    /// The value of `key` must be something by itself.
    fn single(&mut self, holds: bool, key: &Key, must: &str) {
        if !holds && !self.bad.contains(key) {
            self.problems.push(match self.origins.get(key) {
                Some(origin) => Problem::at(origin, format!("{key}: {must}")),
                None => Problem::relation(format!("{key}: {must}")),
            });
        }
    }

    fn named(&self, (key, value): (&str, &dyn Display)) -> String {
        match self.origins.get(&Key::dotted(key)) {
            Some(origin) => format!("{key} ({value}, {origin})"),
            None => format!("{key} ({value}, default)"),
        }
    }

    fn addresses(&mut self, config: &Config) {
        let (public, management) = (config.server.listen, config.server.management_listen);
        let overlap = public.ip() == management.ip()
            || public.ip().is_unspecified()
            || management.ip().is_unspecified();
        let same = public.port() != 0 && public.port() == management.port() && overlap;
        self.pair(
            !same,
            ("server.management_listen", &management),
            "another address than",
            ("server.listen", &public),
        );
    }

    fn tls(&mut self, section: &str, tls: &Tls) {
        let needs = [
            ("cert_file", tls.cert_file.is_some(), "key_file", tls.key_file.is_some()),
            ("key_file", tls.key_file.is_some(), "cert_file", tls.cert_file.is_some()),
            ("client_ca_file", tls.client_ca_file.is_some(), "cert_file", tls.cert_file.is_some()),
        ];
        for (this, is_given, other, is_other_given) in needs {
            let must = format!("needs {section}.{other}");
            self.single(!is_given || is_other_given, &Key::dotted(section).child(this), &must);
        }
        let agree = (tls.client_auth == ClientAuth::None) == tls.client_ca_file.is_none();
        let must = format!("must be \"none\" without {section}.client_ca_file, and something else with it");
        self.single(agree, &Key::dotted(section).child("client_auth"), &must);
    }

    fn origins(&mut self, config: &Config) {
        let open_to_all = config.cors.allowed_origins.contains(&AllowedOrigin::Any);
        let key = Key::dotted("cors.allow_credentials");
        let holds = !(open_to_all && config.cors.allow_credentials);
        self.single(holds, &key, "must be false where cors.allowed_origins has \"*\"");
    }

    fn times(&mut self, config: &Config) {
        let (websocket, turns) = (&config.websocket, &config.turns);
        self.pair(
            websocket.heartbeat_timeout < websocket.heartbeat_interval,
            ("websocket.heartbeat_timeout", &websocket.heartbeat_timeout),
            "below",
            ("websocket.heartbeat_interval", &websocket.heartbeat_interval),
        );
        self.pair(
            *turns.lease >= *turns.beat * BEATS_PER_LEASE,
            ("turns.lease", &turns.lease),
            "at least 5 times",
            ("turns.beat", &turns.beat),
        );
        self.pair(
            config.llm.first_token_timeout <= turns.deadline,
            ("llm.first_token_timeout", &config.llm.first_token_timeout),
            "at most",
            ("turns.deadline", &turns.deadline),
        );
        self.pair(
            config.routing.timeout <= turns.deadline,
            ("routing.timeout", &config.routing.timeout),
            "at most",
            ("turns.deadline", &turns.deadline),
        );
        self.pair(
            config.redis.limit_timeout <= config.redis.timeout,
            ("redis.limit_timeout", &config.redis.limit_timeout),
            "at most",
            ("redis.timeout", &config.redis.timeout),
        );
        self.retry("llm", config.llm.retry);
        self.retry("redis", config.redis.retry);
    }

    fn retry(&mut self, section: &str, retry: Retry) {
        let (wait, max_wait) = (format!("{section}.retry.wait"), format!("{section}.retry.max_wait"));
        self.pair(
            retry.wait <= retry.max_wait,
            (&wait, &retry.wait),
            "at most",
            (&max_wait, &retry.max_wait),
        );
    }

    fn counts(&mut self, config: &Config) {
        let websocket = &config.websocket;
        self.pair(
            websocket.max_per_client <= websocket.max_total,
            ("websocket.max_per_client", &websocket.max_per_client),
            "at most",
            ("websocket.max_total", &websocket.max_total),
        );
        let share = (0.0..=1.0).contains(&config.simulator.error_rate);
        self.single(share, &Key::dotted("simulator.error_rate"), "must be from 0 to 1");
    }

    fn limits(&mut self, config: &Config) {
        let (routes, policies) = (Key::dotted("limits.routes"), Key::dotted("limits.policies"));
        for name in config.limits.policies.keys() {
            let must = "a policy's name must be 1 to 32 lower-case letters, digits, '_' or '-'";
            self.single(is_name(name, 32), &policies.child(name), must);
        }
        for (route, names) in &config.limits.routes {
            let key = routes.child(route);
            let form = route.split_once(' ').is_some_and(|(method, path)| {
                method.bytes().all(|b| b.is_ascii_uppercase()) && !method.is_empty() && path.starts_with('/')
            });
            self.single(form, &key, "an operation must be written \"POST /api/v1/chat\"");
            for name in names.iter().filter(|name| !config.limits.policies.contains_key(*name)) {
                self.single(false, &key, &format!("there is no policy {name:?}"));
            }
        }
    }

    fn upstreams(&mut self, config: &Config) {
        let key = Key::dotted("llm.upstreams");
        let mut names = BTreeSet::new();
        for (place, upstream) in config.llm.upstreams.iter().enumerate() {
            let name = &upstream.name;
            let must = format!("name {name:?} must be 1 to 32 lower-case letters, digits, '_' or '-'");
            self.single(is_name(name, 32), &key, &must);
            self.single(names.insert(name), &key, &format!("two are named {name:?}"));
            let must = format!("[{place}].base_url {MUST_BE_BASE_URL}");
            self.single(is_base_url(&upstream.base_url), &key, &must);
        }
    }

    fn texts(&mut self, config: &Config) {
        if let Some(url) = &config.llm.base_url {
            self.single(is_base_url(url), &Key::dotted("llm.base_url"), MUST_BE_BASE_URL);
        }
        if let Err(reason) = config.redis.place() {
            let key = if config.redis.url.is_some() { "redis.url" } else { "redis.hosts" };
            self.single(false, &Key::dotted(key), reason);
        }
        let filter = tracing_subscriber::EnvFilter::try_new(&config.telemetry.log_filter);
        self.single(
            filter.is_ok(),
            &Key::dotted("telemetry.log_filter"),
            "must be a filter such as info,polylogue=debug",
        );
    }
}

impl Relations<'_> {
    fn tokens(&mut self, jwt: &Jwt) {
        let key = |name: &str| Key::dotted("auth.jwt").child(name);
        if !jwt.is_on() {
            let idle = jwt.jwks_url.is_some() || jwt.key_file.is_some();
            return self.single(!idle, &key("issuer"), "is missing: without it no token is taken");
        }
        let must = "must name at least one audience: a token meant for another service is not for this one";
        self.single(!jwt.audience.is_empty(), &key("audience"), must);
        let must = "must say where the keys are, or auth.jwt.key_file must, and not both";
        self.single(jwt.jwks_url.is_some() != jwt.key_file.is_some(), &key("jwks_url"), must);
        self.single(!jwt.algorithms.is_empty(), &key("algorithms"), "must name at least one");
        let shared = jsonwebtoken::AlgorithmFamily::Hmac.algorithms();
        let secrets = jwt.algorithms.iter().filter(|algorithm| shared.contains(algorithm)).count();
        let must =
            "with HS256, HS384 or HS512 must have no others: a public key must never be taken for a secret";
        self.single(secrets == 0 || secrets == jwt.algorithms.len(), &key("algorithms"), must);
        let must = "with HS256, HS384 or HS512 needs auth.jwt.key_file: a secret that can be fetched is none";
        self.single(secrets == 0 || jwt.jwks_url.is_none(), &key("algorithms"), must);
        if let Some(url) = &jwt.jwks_url {
            let must = "must be an https address (http only to a loopback address) without user, password or fragment";
            self.single(is_safe_url(url), &key("jwks_url"), must);
        }
    }
}

impl Relations<'_> {
    fn tracing(&mut self, tracing: &Tracing) {
        let key = |name: &str| Key::dotted("tracing").child(name);
        for (name, url) in [("endpoint", &tracing.endpoint), ("traces_endpoint", &tracing.traces_endpoint)] {
            let right = url.as_deref().is_none_or(is_base_url);
            self.single(right, &key(name), MUST_BE_BASE_URL);
        }
        for (name, pairs) in
            [("headers", tracing.header_pairs()), ("resource_attributes", tracing.resource_pairs())]
        {
            self.single(pairs.is_ok(), &key(name), pairs.err().unwrap_or_default());
        }
        let share = (0.0..=1.0).contains(&tracing.sampler_ratio);
        self.single(share, &key("sampler_ratio"), "must be from 0 to 1");
        self.pair(
            tracing.batch_size <= tracing.queue_size,
            ("tracing.batch_size", &tracing.batch_size),
            "at most",
            ("tracing.queue_size", &tracing.queue_size),
        );
    }
}

/// Keys that anybody on the way could replace are none.
fn is_safe_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let safe = matches!(uri.scheme_str(), Some("https")) || (uri.scheme_str() == Some("http") && is_here);
    safe && !host.is_empty() && !user && !text.contains('#')
}

const MUST_BE_BASE_URL: &str = "must be an http or https address without user, password, query or fragment";

fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let absolute = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    absolute && !user && uri.query().is_none() && !text.contains('#')
}

fn is_name(text: &str, longest: usize) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}
