use std::process::Command;

use polylogue::config::Config;
use polylogue::shutdown::Shutdown;
use polylogue::simulator::{Controls, Settings, Simulator};

/// The program with nothing in its environment but what is given.
pub fn polylogue(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polylogue"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command
}

/// A model of the test's own, which answers with few tokens at once.
pub async fn model() -> (Simulator, Controls) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = Settings::from(&Config::default().simulator);
    (settings.time_to_first_token_ms, settings.token_gap_ms) = (0, 0);
    let simulator = Simulator::start(settings, listener, &Shutdown::new()).unwrap();
    let controls = simulator.controls.clone();
    (simulator, controls)
}
