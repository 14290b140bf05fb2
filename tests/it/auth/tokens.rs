//! Tokens: only what the issuer made, for us, in a way we allow, and now.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::issuer::{Issuer, Manner, Signer, claims, now};
use crate::support::{Scratch, Socket, TestApp, eventually, span};

const PERSONAS: &str = "/api/v1/personas";

async fn trusting(issuer: &Issuer) -> TestApp {
    TestApp::with(|config| issuer.trusted(config)).await
}

async fn status(app: &TestApp, token: &str) -> u16 {
    app.with_bearer(token).get(PERSONAS).await.status
}

/// How often this was the outcome of a token.
fn outcomes(app: &TestApp, outcome: &str) -> f64 {
    app.metric(&format!("auth_attempts_total{{method=\"jwt\",outcome=\"{outcome}\"}}"))
}

#[tokio::test]
async fn a_token_of_the_issuer_is_good_and_each_fault_is_told_apart_only_in_the_metric() {
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let app = trusting(&issuer).await;
    assert_eq!(status(&app, &signer.token("ada", |_| ())).await, 200);
    assert_eq!(status(&app, &signer.token("ada", |it| it["aud"] = json!(["other", "polylogue"]))).await, 200);

    type Change = fn(&mut Value);
    let wrong: [(&str, Change); 9] = [
        ("expired", |it| it["exp"] = json!(now() - 60)),
        ("not_yet", |it| it["nbf"] = json!(now() + 600)),
        ("wrong_issuer", |it| it["iss"] = json!("https://other.example")),
        ("wrong_audience", |it| it["aud"] = json!("other")),
        ("bad_claims", |it| it["exp"] = Value::Null),
        ("bad_claims", |it| it["sub"] = Value::Null),
        ("bad_claims", |it| it["sub"] = json!("two\nlines")),
        ("bad_claims", |it| it["aud"] = Value::Null),
        ("bad_claims", |it| it["exp"] = json!("soon")),
    ];
    for (outcome, change) in wrong {
        let before = outcomes(&app, outcome);
        let refused = app.with_bearer(&signer.token("ada", change)).get(PERSONAS).await;
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"), "{outcome}");
        assert_eq!(outcomes(&app, outcome), before + 1.0, "{outcome}");
    }
}

#[tokio::test]
async fn nobody_signs_but_the_issuer() {
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let app = trusting(&issuer).await;
    let token = signer.token("ada", |_| ());
    let parts: Vec<_> = token.split('.').collect();
    let forged_claims = encode_part(&claims("eve", |_| ()));

    // Without a signature; with that of other claims; by somebody who took the name of the key.
    let none = format!("{}.{forged_claims}.", encode_part(&json!({"alg": "none", "typ": "JWT"})));
    let moved = format!("{}.{forged_claims}.{}", parts[0], parts[2]);
    let usurped = Signer { id: "one".into(), ..Signer::new("two") }.token("eve", |_| ());
    // The public key, which everybody has, taken for a shared secret.
    let public = signer.jwk["x"].as_str().unwrap().as_bytes();
    let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
    let confused = encode(&header, &claims("eve", |_| ()), &EncodingKey::from_secret(public)).unwrap();
    // A key that comes with the token, and a promise nobody here can keep.
    let mut header = Header { kid: Some("one".into()), ..Header::new(Algorithm::ES256) };
    header.jku = Some("http://127.0.0.1:1/keys".into());
    let own = Signer::new("one");
    let own_key = encode(&header, &claims("eve", |_| ()), &EncodingKey::from_ec_der(&own.pkcs8)).unwrap();
    let mut header = Header { kid: Some("one".into()), ..Header::new(Algorithm::ES256) };
    header.crit = Some(vec!["exp".into()]);
    let critical = encode(&header, &claims("ada", |_| ()), &EncodingKey::from_ec_der(&signer.pkcs8)).unwrap();

    for forged in [none, moved, usurped, confused, own_key, critical, "..".into(), "a.b.c".into()] {
        assert_eq!(status(&app, &forged).await, 401, "{forged}");
    }
    assert_eq!(status(&app, &format!("{token}{}", "x".repeat(9000))).await, 401);
}

#[tokio::test]
async fn a_key_set_that_offers_a_shared_secret_makes_nobody_a_signer() {
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
    issuer.serves(vec![json!({"kty": "oct", "kid": "two", "k": secret, "alg": "HS256"}), signer.jwk.clone()]);
    let app = trusting(&issuer).await;
    let header = Header { kid: Some("two".into()), ..Header::new(Algorithm::HS256) };
    let shared =
        EncodingKey::from_base64_secret(&secret.replace('-', "+")).unwrap_or(EncodingKey::from_secret(b"x"));
    let forged = encode(&header, &claims("eve", |_| ()), &shared).unwrap();
    assert_eq!(status(&app, &forged).await, 401);
    assert_eq!(status(&app, &signer.token("ada", |_| ())).await, 200);
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_found_when_it_is_first_used_and_an_old_one_ends_with_its_set() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::start(&[&old]).await;
    let app = TestApp::with(|config| {
        issuer.trusted(config);
        config.auth.jwt.refresh = span(200);
    })
    .await;
    let address = app.app.listen().to_string();
    let bearer = format!("Bearer {}", old.token("ada", |_| ()));
    let mut socket = Socket::with(&address, "", &[("Authorization", &bearer)]).await.unwrap();

    issuer.has(&[&old, &new]);
    eventually("the new key is good", async || status(&app, &new.token("ada", |_| ())).await == 200).await;
    assert_eq!(status(&app, &old.token("ada", |_| ())).await, 200);

    issuer.has(&[&new]);
    assert_eq!(socket.closed().await, 4501);
    assert_eq!(status(&app, &old.token("ada", |_| ())).await, 401);
}

#[tokio::test]
async fn unknown_keys_do_not_make_us_ask_again_and_again() {
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let app = trusting(&issuer).await;
    assert_eq!(status(&app, &signer.token("ada", |_| ())).await, 200);
    for nth in 0..20 {
        assert_eq!(status(&app, &Signer::new(&format!("unknown{nth}")).token("eve", |_| ())).await, 401);
    }
    assert!(issuer.asked() <= 2, "asked {} times", issuer.asked());
}

#[tokio::test]
async fn an_issuer_that_misbehaves_costs_nothing_but_its_own_tokens() {
    for manner in [Manner::Silent, Manner::Endless, Manner::Garbage, Manner::Broken, Manner::Elsewhere] {
        let signer = Signer::new("one");
        let issuer = Issuer::start(&[&signer]).await;
        issuer.is(manner);
        let app = TestApp::with(|config| {
            issuer.trusted(config);
            config.auth.jwt.timeout = span(300);
            config.auth.jwt.refresh = span(300);
        })
        .await;
        let refused = app.with_bearer(&signer.token("ada", |_| ())).get(PERSONAS).await;
        assert_eq!((refused.status, refused.code()), (503, "state_unavailable"), "{manner:?}");
        assert!(!refused.header("retry-after").is_empty());

        issuer.is(Manner::Well);
        eventually("it recovers", async || status(&app, &signer.token("ada", |_| ())).await == 200).await;
        // Keys that were fetched stay good while there are no others.
        issuer.is(manner);
        let asked = issuer.asked();
        eventually("it was asked again", async || issuer.asked() > asked + 1).await;
        assert_eq!(status(&app, &signer.token("ada", |_| ())).await, 200, "{manner:?}");
    }
}

#[tokio::test]
async fn a_key_in_a_file_does_as_well_a_public_one_or_a_shared_secret() {
    let secret = "a secret of more than thirty-two bytes";
    let file = Scratch::file("key", secret);
    let app = TestApp::with(|config| {
        let jwt = &mut config.auth.jwt;
        jwt.issuer = Some(super::issuer::ISSUER.into());
        jwt.audience = vec![super::issuer::AUDIENCE.into()];
        jwt.key_file = Some(file.path());
        jwt.algorithms = vec![Algorithm::HS256];
    })
    .await;
    let sign = |algorithm| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(algorithm), &claims("ada", |_| ()), &key).unwrap()
    };
    assert_eq!(status(&app, &sign(Algorithm::HS256)).await, 200);
    assert_eq!(status(&app, &sign(Algorithm::HS512)).await, 401);
}

/// A part of a token, as JWS writes it.
fn encode_part(part: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), part, &EncodingKey::from_secret(b"any"))
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned()
}

/// A key pair of openssl's, as PEM: the private one and the public one.
fn pair(arguments: &[&str]) -> (Vec<u8>, String) {
    let openssl = |arguments: &[&str], input: &[u8]| {
        let file = Scratch::file("pem", std::str::from_utf8(input).unwrap());
        let mut command = std::process::Command::new("openssl");
        let output = command.args(arguments).args(["-in", file.path().to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let made = std::process::Command::new("openssl").arg("genpkey").args(arguments).output().unwrap();
    let private = openssl(&["pkcs8", "-topk8", "-nocrypt"], &made.stdout);
    let public = openssl(&["pkey", "-pubout"], &private);
    (private, String::from_utf8(public).unwrap())
}

#[tokio::test]
async fn a_public_key_in_a_file_may_be_rsa_an_elliptic_curve_or_ed25519() {
    type Read = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;
    let kinds: [(&[&str], Algorithm, Read); 3] = [
        (
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Algorithm::RS256,
            EncodingKey::from_rsa_pem,
        ),
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Algorithm::ES256,
            EncodingKey::from_ec_pem,
        ),
        (&["-algorithm", "ED25519"], Algorithm::EdDSA, EncodingKey::from_ed_pem),
    ];
    for (arguments, algorithm, read) in kinds {
        let (private, public) = pair(arguments);
        let file = Scratch::file("pem", &public);
        let app = TestApp::with(|config| {
            let jwt = &mut config.auth.jwt;
            jwt.issuer = Some(super::issuer::ISSUER.into());
            jwt.audience = vec![super::issuer::AUDIENCE.into()];
            jwt.key_file = Some(file.path());
        })
        .await;
        let sign = |key| encode(&Header::new(algorithm), &claims("ada", |_| ()), &key).unwrap();
        assert_eq!(status(&app, &sign(read(&private).unwrap())).await, 200, "{algorithm:?}");
        let (foreign, _) = pair(arguments);
        assert_eq!(status(&app, &sign(read(&foreign).unwrap())).await, 401, "{algorithm:?}");
        // Everybody has the public key; it must be good for nothing but checking.
        let confused = EncodingKey::from_secret(public.as_bytes());
        let confused = encode(&Header::new(Algorithm::HS256), &claims("eve", |_| ()), &confused).unwrap();
        assert_eq!(status(&app, &confused).await, 401, "{algorithm:?}");
    }
}
