use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use polylogue::simulator::Simulator;

use super::super::polylogue;
use super::Replica;

/// How a replica is started.
#[derive(Clone)]
pub struct Plan {
    settings: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// No limit is in a test's way, a model may be silent for as long as a test wants, and the dead are noticed soon.
const SETTINGS: [&str; 7] = [
    "limits.policies.default.quota=1000000",
    "limits.policies.resume.quota=1000000",
    "websocket.max_per_client=1000",
    "llm.token_gap_timeout=100s",
    "server.close_spread=10ms",
    "turns.beat=200ms",
    "turns.lease=2s",
];

impl Plan {
    /// With this model and nothing else.
    pub fn on(model: &Simulator) -> Self {
        Self::at(&model.base_url())
    }

    /// With a model at this address.
    pub fn at(base_url: &str) -> Self {
        let plan = Self { settings: SETTINGS.map(str::to_owned).into(), environment: Vec::new() };
        plan.set(&format!("llm.base_url={base_url}")).set("llm.model=any")
    }

    /// With this Redis.
    pub fn redis(self, url: &str) -> Self {
        self.environment("REDIS_URL", url)
    }

    /// With this setting, `turns.lease=2s` for example; the last one of a key counts.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// With a clock that goes wrong by so much, `+120s` for example. Its monotonic clock is right, as everybody's is.
    pub fn clock(self, wrong_by: &str) -> Self {
        let library = faketime().display().to_string();
        self.environment("LD_PRELOAD", &library)
            .environment("FAKETIME", wrong_by)
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// With this variable in its environment.
    pub fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Starts it on ports of its own and waits until it is ready.
    pub async fn start(self) -> Replica {
        Replica::start(self).await
    }

    /// What runs it on these ports.
    pub(super) fn command(&self, public: u16, management: u16) -> Command {
        let listen = [
            format!("server.listen=127.0.0.1:{public}"),
            format!("server.management_listen=127.0.0.1:{management}"),
            // What is refused where there is too much to do is another claim.
            "turns.max_delay=0s".to_owned(),
        ];
        let all = self.settings.iter().chain(&listen);
        let arguments: Vec<_> = all.flat_map(|setting| ["--set", setting]).collect();
        let environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut command = polylogue(&arguments, &environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The library that lies about the time, in the variant for programs with threads.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is missing: tests/run installs it")
}
