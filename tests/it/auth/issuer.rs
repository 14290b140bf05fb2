//! Somebody who makes tokens, and a server for the keys that may misbehave.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use polylogue::config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "polylogue";

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Well,
    /// Takes the request and says nothing.
    Silent,
    /// Never stops sending.
    Endless,
    /// 200, and no key set.
    Garbage,
    /// 500.
    Broken,
    /// A redirection to somewhere else.
    Elsewhere,
}

struct State {
    keys: Vec<Value>,
    manner: Manner,
    asked: usize,
}

/// The issuer. Its keys are made anew by each test.
#[derive(Clone)]
pub struct Issuer {
    address: String,
    state: Arc<Mutex<State>>,
}

/// A key pair of the issuer.
#[derive(Clone)]
pub struct Signer {
    pub id: String,
    pub pkcs8: Vec<u8>,
    pub jwk: Value,
}

impl Signer {
    pub fn new(id: &str) -> Self {
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pkcs8 = pair.as_ref().to_vec();
        let jwk = Jwk::from_encoding_key(&EncodingKey::from_ec_der(&pkcs8), Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        Self { id: id.to_owned(), pkcs8, jwk }
    }

    /// A token that says what `change` makes of the usual.
    pub fn token(&self, subject: &str, change: impl FnOnce(&mut Value)) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims(subject, change), &EncodingKey::from_ec_der(&self.pkcs8)).unwrap()
    }
}

/// What a right token says.
pub fn claims(subject: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now() + 600});
    change(&mut claims);
    claims
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Issuer {
    pub async fn start(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state =
            State { keys: keys.iter().map(|key| key.jwk.clone()).collect(), manner: Manner::Well, asked: 0 };
        let issuer = Self { address, state: Arc::new(Mutex::new(state)) };
        #[expect(clippy::disallowed_methods, reason = "the test's own server ends with the test")]
        tokio::spawn(serve(listener, issuer.clone()));
        issuer
    }

    /// From now on these are its keys.
    pub fn has(&self, keys: &[&Signer]) {
        self.serves(keys.iter().map(|key| key.jwk.clone()).collect());
    }

    pub fn serves(&self, keys: Vec<Value>) {
        self.state.lock().unwrap().keys = keys;
    }

    pub fn is(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// Where its keys are.
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Settings that trust it.
    pub fn trusted(&self, config: &mut config::Config) {
        let jwt = &mut config.auth.jwt;
        jwt.issuer = Some(ISSUER.into());
        jwt.audience = vec![AUDIENCE.into()];
        jwt.jwks_url = Some(self.url());
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's own server ends with the test")]
async fn serve(listener: TcpListener, issuer: Issuer) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, issuer.clone()));
    }
}

async fn answer(mut stream: TcpStream, issuer: Issuer) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (manner, body) = {
        let mut state = issuer.state.lock().unwrap();
        state.asked += 1;
        (state.manner, json!({"keys": state.keys}).to_string())
    };
    let whole = |status: &str, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = match manner {
        Manner::Well => whole("200 OK", "content-type: application/json\r\n", &body),
        Manner::Garbage => whole("200 OK", "", "<html>"),
        Manner::Broken => whole("500 Internal Server Error", "", ""),
        Manner::Elsewhere => whole("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
        Manner::Silent => {
            std::future::pending::<()>().await;
            unreachable!()
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b' '; 16 * 1024]).await?;
            }
        }
    };
    stream.write_all(answer.as_bytes()).await
}
