//! Claims about what an operator may say, and what is answered.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A file that is removed when the test ends.
struct TempFile(PathBuf);

impl TempFile {
    fn holding(text: &str) -> Self {
        let name = format!("polylogue-config-{}-{:016x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Sources { environment, ..Sources::default() }
}

fn file(text: &str) -> (TempFile, Sources) {
    let file = TempFile::holding(text);
    let sources = Sources { file: Some(file.0.clone()), ..Sources::default() };
    (file, sources)
}

fn problems(sources: &Sources) -> Vec<String> {
    sources.load().unwrap_err().to_string().lines().map(str::to_owned).collect()
}

#[test]
fn with_nothing_said_the_defaults_are_in_force() {
    let effective = Sources::default().load().unwrap();
    assert_eq!(effective.config.websocket.max_per_client.get(), 5);
    assert_eq!(effective.config.turns.deadline.0, Duration::from_secs(120));
    assert!(effective.warnings.is_empty());
    assert!(!effective.to_toml().contains('#'));
}

#[test]
fn a_flag_beats_the_environment_which_beats_an_alias_which_beats_the_file() {
    let (_file, mut sources) =
        file("[websocket]\nmax_per_client = 2\nmax_total = 20\nidle_ttl = '2h'\nheartbeat_timeout = '2s'");
    sources.environment = vec![
        ("MAX_CONNECTIONS_PER_CLIENT".into(), "3".into()),
        ("MAX_TOTAL_CONNECTIONS".into(), "30".into()),
        ("CONNECTION_TTL_SECONDS".into(), "1800".into()),
        ("POLYLOGUE__WEBSOCKET__MAX_PER_CLIENT".into(), "4".into()),
        ("polylogue__websocket__max_total".into(), "40".into()),
    ];
    sources.flags = vec![Flag { name: "--set", key: "websocket.max_per_client".into(), value: "6".into() }];

    let effective = sources.load().unwrap();

    let websocket = &effective.config.websocket;
    assert_eq!(websocket.max_per_client.get(), 6);
    assert_eq!(websocket.max_total.get(), 40);
    assert_eq!(websocket.idle_ttl.0, Duration::from_secs(1800));
    assert_eq!(websocket.heartbeat_timeout.0, Duration::from_secs(2));
    assert!(effective.to_toml().contains("idle_ttl = \"30m\"  # environment CONNECTION_TTL_SECONDS"));
}

#[test]
fn unknown_keys_are_problems_with_a_suggestion() {
    let (_file, mut sources) =
        file("[lmm]\nmodel = 'x'\n[turns]\nlife = '1s'\n[limits.policies.costly]\nqota = 1");
    sources.environment = vec![
        ("POLYLOGUE__LLM__TIMOUT".into(), "30s".into()),
        ("POLYLOGUE__LLM_TIMEOUT".into(), "30s".into()),
    ];
    let said = problems(&sources).join("\n");
    for part in [
        "environment POLYLOGUE__LLM__TIMOUT: unknown key llm.timout (did you mean llm.timeout?)",
        "environment POLYLOGUE__LLM_TIMEOUT: unknown key llm_timeout (did you mean llm.timeout?)",
        "unknown key lmm (did you mean llm?)",
        "unknown key limits.policies.costly.qota (did you mean limits.policies.costly.quota?)",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn every_wrong_value_is_reported_at_once_with_its_origin() {
    let (_file, mut sources) = file("[llm]\ntimeout = 30\n[server]\nlisten = 'here'\nmax_body = '0KiB'");
    sources.environment = vec![
        ("POLYLOGUE__TURNS__MAX_CONCURRENT".into(), "many".into()),
        ("POLYLOGUE__TURNS__BEAT".into(), "0s".into()),
        ("POLYLOGUE__TURNS__RETENTION".into(), "9000000000years".into()),
        ("MAX_TOTAL_CONNECTIONS".into(), "0".into()),
    ];
    let said = problems(&sources);
    assert_eq!(said.len(), 7, "{said:#?}");
    let said = said.join("\n");
    for part in [
        "llm.timeout = 30: must be a duration",
        "server.listen = \"here\":",
        "server.max_body = \"0KiB\": must be above zero",
        "environment POLYLOGUE__TURNS__MAX_CONCURRENT: turns.max_concurrent = \"many\": must be a whole number",
        "environment POLYLOGUE__TURNS__BEAT: turns.beat = \"0s\": must be above zero",
        "environment MAX_TOTAL_CONNECTIONS: websocket.max_total = 0:",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_reported_together() {
    let sources = environment(&[
        ("HEARTBEAT_TIMEOUT_SECONDS", "30"),
        ("POLYLOGUE__TURNS__LEASE", "4s"),
        ("POLYLOGUE__WEBSOCKET__MAX_PER_CLIENT", "2000"),
        ("POLYLOGUE__SERVER__MANAGEMENT_LISTEN", "0.0.0.0:8080"),
        ("POLYLOGUE__SIMULATOR__ERROR_RATE", "1.5"),
        ("POLYLOGUE__LLM__BASE_URL", "ftp://example.org"),
        ("POLYLOGUE__LLM__RETRY__WAIT", "20s"),
        ("POLYLOGUE__LLM__FIRST_TOKEN_TIMEOUT", "121s"),
        ("RUST_LOG", "info,=,="),
    ]);
    let said = problems(&sources);
    assert_eq!(said.len(), 9, "{said:#?}");
    assert!(
        said.contains(
            &"websocket.heartbeat_timeout (30s, environment HEARTBEAT_TIMEOUT_SECONDS) must be below \
          websocket.heartbeat_interval (30s, default)"
                .to_owned()
        )
    );
}

#[test]
fn a_policy_of_its_own_needs_a_quota_and_a_window_only() {
    let (_file, sources) = file(
        "[limits.policies.costly]\nquota = 5\nwindow = '1s'\n\
         [limits.routes]\n'POST /api/v1/chat' = ['default', 'costly']",
    );
    let config = sources.load().unwrap().config;
    assert_eq!(config.limits.policies["costly"].scope, Scope::Ip);
    assert_eq!(config.limits.routes["POST /api/v1/chat"], ["default", "costly"]);

    let (_file, sources) =
        file("[limits.policies.costly]\nquota = 5\n[limits.routes]\n'POST /x' = ['cheap']\nx = ['default']");
    let said = problems(&sources).join("\n");
    assert!(said.contains("limits.policies.costly.window is missing"), "{said}");
    let (_file, sources) = file("[limits.routes]\n'POST /x' = ['cheap']\nx = ['default']");
    let said = problems(&sources).join("\n");
    assert!(said.contains("limits.routes.\"POST /x\": there is no policy \"cheap\""), "{said}");
    assert!(said.contains("limits.routes.x: an operation must be written"), "{said}");
}

#[test]
fn upstreams_have_names_of_their_own_and_addresses() {
    let upstream =
        |name: &str, url: &str| format!("[[llm.upstreams]]\nname = '{name}'\nbase_url = '{url}'\n");
    let (_file, sources) = file(&(upstream("a", "https://one/v1") + &upstream("b", "http://two/v1")));
    assert_eq!(sources.load().unwrap().config.llm.upstreams.len(), 2);

    let (_file, sources) = file(&(upstream("a", "https://one/v1") + &upstream("a", "https://me:pw@two/v1")));
    let said = problems(&sources).join("\n");
    assert!(said.contains("two are named \"a\""), "{said}");
    assert!(said.contains("[1].base_url must be an http or https address"), "{said}");
    assert!(!said.contains("pw"), "{said}");

    let (_file, sources) = file("[[llm.upstreams]]\nname = 'a'\nurl = 'x'\napi_key = 7\n");
    let said = problems(&sources).join("\n");
    assert!(said.contains("unknown key llm.upstreams[0].url"), "{said}");
    assert!(said.contains("llm.upstreams[0].api_key: must be a text"), "{said}");
}

#[test]
fn a_secret_may_be_in_a_file_but_not_in_two_places() {
    let secret = TempFile::holding("sk-secret\n");
    let path = secret.0.to_str().unwrap();
    let effective = environment(&[("POLYLOGUE__LLM__API_KEY_FILE", path)]).load().unwrap();
    let key = effective.config.llm.api_key.as_ref().unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(key), "sk-secret");

    let both =
        environment(&[("POLYLOGUE__LLM__API_KEY_FILE", path), ("POLYLOGUE__LLM__API_KEY", "sk-other")]);
    let said = problems(&both).join("\n");
    assert!(said.contains("llm.api_key is also given by environment"), "{said}");
    assert!(!said.contains("sk-"), "{said}");

    let (_file, both) = file(&format!("[llm]\napi_key = 'sk-other'\napi_key_file = '{path}'"));
    assert!(problems(&both).join("\n").contains("llm.api_key and llm.api_key_file are both given"));

    let missing = environment(&[("REDIS_URL_FILE", "/nowhere/at/all")]).load().unwrap_err();
    assert!(missing.is_unavailable(), "{missing}");
}

#[test]
fn a_secret_is_never_shown() {
    let (_file, mut sources) =
        file("[[llm.upstreams]]\nname = 'a'\nbase_url = 'http://a'\napi_key = 'sk-secret'");
    sources.environment = vec![
        ("REDIS_URL".into(), "redis://:sk-secret@host".into()),
        ("OPENAI_API_KEY".into(), "sk-secret".into()),
    ];
    let effective = sources.load().unwrap();
    assert!(!format!("{effective:?}").contains("sk-secret"));
    let shown = effective.to_toml();
    assert!(!shown.contains("sk-secret"), "{shown}");
    assert!(shown.contains("api_key = \"(hidden)\"  # environment OPENAI_API_KEY"), "{shown}");

    for wrong in
        ["[llm]\napi_key = \"sk-secret", "[llm]\napi_key = ['sk-secret']", "[llm]\napi_key = 'sk-secret\t'"]
    {
        let (_file, sources) = file(wrong);
        let said = problems(&sources).join("\n");
        assert!(!said.contains("sk-secret"), "{said}");
    }
}

#[test]
fn what_is_shown_can_be_given_back() {
    let (_file, sources) = file(
        "[limits.policies.costly]\nquota = 5\nwindow = '1s'\n[limits.routes]\n'POST /x' = ['costly']\n\
         [[llm.upstreams]]\nname = 'a'\nbase_url = 'http://a'\n[server]\nmax_body = '1000001B'",
    );
    let shown = sources.load().unwrap().to_toml();
    let (_file, again) = file(&shown);
    let again = again.load().unwrap();
    assert_eq!(again.config.server.max_body, Bytes(1_000_001));
    assert_eq!(again.config.limits.policies.len(), 4);
    assert_eq!(again.config.llm.upstreams[0].name, "a");
}

#[test]
fn what_kubernetes_and_others_put_into_the_environment_is_left_alone() {
    let sources = environment(&[
        ("POLYLOGUE_PORT", "tcp://10.0.0.1:8080"),
        ("POLYLOGUE_SERVICE_HOST", "10.0.0.1"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("REDIS_URL", ""),
        ("PATH", "/bin"),
    ]);
    assert!(sources.load().unwrap().config.redis.url.is_none());
}

#[test]
fn the_standard_variables_of_opentelemetry_say_where_spans_go() {
    let sources = environment(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%2Cb,x=y"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_SDK_DISABLED", "false"),
    ]);
    let effective = sources.load().unwrap();
    let tracing = &effective.config.tracing;
    assert_eq!(tracing.target().as_deref(), Some("http://collector:4318/v1/traces"));
    assert_eq!((tracing.timeout.as_millis(), tracing.batch_delay.as_millis()), (1500, 100));
    assert_eq!((tracing.sampler, tracing.sampler_ratio), (Sampler::ParentOrRatio, 0.25));
    assert_eq!(tracing.propagators, [Propagator::TraceContext]);
    let pairs = tracing.header_pairs().unwrap();
    assert_eq!(pairs, [("api-key".into(), "a,b".into()), ("x".into(), "y".into())]);
    assert!(tracing.enabled && !effective.to_toml().contains("a%2Cb"));

    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let effective = environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), off]).load().unwrap();
        assert_eq!(effective.config.tracing.target(), None);
    }
}

#[test]
fn what_cannot_be_traced_with_is_told_by_the_variable_that_says_it() {
    let said = problems(&environment(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ]));
    for variable in ["ENDPOINT", "PROTOCOL", "HEADERS", "SAMPLER:", "SAMPLER_ARG"] {
        assert!(said.iter().any(|line| line.contains(variable)), "{variable}: {said:?}");
    }
    assert!(!said.concat().contains("secret"), "{said:?}");
}

#[test]
fn a_model_server_without_a_model_is_warned_of() {
    let warned = |variables: &[(&str, &str)]| environment(variables).load().unwrap().warnings.concat();
    let address = ("POLYLOGUE__LLM__BASE_URL", "http://127.0.0.1:1/v1");
    assert!(warned(&[address]).contains("llm.base_url is set without a model"));
    assert_eq!(warned(&[address, ("POLYLOGUE__LLM__MODEL", "any")]), "");
    assert_eq!(warned(&[("POLYLOGUE__LLM__API_KEY", "sk-1234")]), "", "OpenAI's own has one");
}

#[test]
fn a_stop_that_cuts_turns_short_is_warned_of() {
    let effective = environment(&[("POLYLOGUE__SERVER__GRACE", "5s")]).load().unwrap();
    assert_eq!(effective.warnings.len(), 1);
}

#[test]
fn lists_in_the_environment_are_comma_separated() {
    let sources = environment(&[("POLYLOGUE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")]);
    assert_eq!(sources.load().unwrap().config.server.trusted_proxies.len(), 2);
}

#[test]
fn the_committed_reference_is_up_to_date() {
    let committed = include_str!("../../docs/configuration.md");
    assert!(committed == reference_markdown(), "run: polylogue config --reference > docs/configuration.md");
}

#[test]
fn tokens_that_could_not_be_trusted_are_refused_at_the_start() {
    let with = |lines: &str| {
        let (_file, sources) = file(&format!("[auth.jwt]\nissuer = 'https://i'\naudience = ['us']\n{lines}"));
        sources.load().err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(with("jwks_url = 'https://i/keys'"), "");
    assert_eq!(with("jwks_url = 'http://127.0.0.1:1/keys'"), "");
    assert_eq!(with("key_file = '/secret'\nalgorithms = ['HS256']"), "");
    for (lines, reason) in [
        ("", "auth.jwt.jwks_url: must say where the keys are"),
        ("jwks_url = 'https://i/keys'\nkey_file = '/x'", "and not both"),
        ("jwks_url = 'http://issuer.example/keys'", "must be an https address"),
        ("jwks_url = 'https://user:password@i/keys'", "must be an https address"),
        ("jwks_url = 'https://i/keys'\nalgorithms = ['none']", "unknown variant `none`"),
        ("jwks_url = 'https://i/keys'\nalgorithms = []", "must name at least one"),
        ("jwks_url = 'https://i/keys'\nalgorithms = ['HS256']", "needs auth.jwt.key_file"),
        ("key_file = '/x'\nalgorithms = ['HS256', 'RS256']", "must have no others"),
    ] {
        let said = with(lines);
        assert!(said.contains(reason), "{lines}: {said}");
    }
    let (_file, sources) = file("[auth.jwt]\nissuer = 'https://i'\njwks_url = 'https://i/keys'");
    assert!(problems(&sources).join("\n").contains("must name at least one audience"));
    let (_file, sources) = file("[auth.jwt]\njwks_url = 'https://i/keys'");
    assert!(problems(&sources).join("\n").contains("auth.jwt.issuer: is missing"));
}

#[test]
fn an_open_door_to_the_network_is_warned_of() {
    let warned = |lines: &str| {
        let (_file, sources) = file(lines);
        sources.load().unwrap().warnings.iter().any(|warning| warning.starts_with("authentication is off"))
    };
    assert!(!warned(""));
    assert!(warned("[server]\nlisten = '0.0.0.0:8080'"));
    assert!(!warned("[server]\nlisten = '0.0.0.0:8080'\n[auth]\nkeys_file = '/keys'"));
}
