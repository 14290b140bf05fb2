use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The service with its simulator, which answers at once; it is killed when dropped.
pub struct Service {
    child: Child,
    pub url: String,
}

/// Limits protect a service from one caller, and here there is only one.
const SETTINGS: [&str; 8] = [
    "limits.policies.default.quota=1000000000",
    "limits.policies.resume.quota=1000000000",
    "websocket.max_per_client=1000",
    "websocket.max_frames_per_second=1000000000",
    "simulator.time_to_first_token=0s",
    "simulator.token_gap=1ms",
    "simulator.tokens=16",
    "telemetry.log_format=json",
];

impl Service {
    /// Starts it on ports of its own, and waits until it is ready.
    pub fn start() -> Self {
        let mut command = Command::new(program());
        command.env_clear().args(["serve", "--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"]);
        command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["event"] == "application_ready").then_some(line)
        });
        let url = format!("http://{}", ready.expect("it ended at once")["listen"].as_str().unwrap());
        // Read on, so that it is never kept from writing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The service's program: the one `POLYLOGUE_BIN` names, or built now, as this test was.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("POLYLOGUE_BIN") {
        return named.into();
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root).args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "polylogue",
        "--bin",
        "polylogue",
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the service does not build");
    // This test is in target/<profile>/deps.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("polylogue")
}
