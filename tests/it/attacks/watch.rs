use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::target::Target;

/// Between two requests of the good client.
const PAUSE: Duration = Duration::from_millis(5);
/// Of so many requests, one is on a connection of its own.
const FRESH: usize = 8;

/// A well-behaved client at work, and a look at the memory of the process.
pub struct Watch {
    process: u32,
    before: u64,
    peak: Arc<AtomicU64>,
    stop: CancellationToken,
    working: JoinHandle<Vec<Duration>>,
    looking: JoinHandle<()>,
}

impl Watch {
    /// Asks for personas and has whole turns.
    pub fn begin(target: &Target) -> Self {
        Self::asking(target, true)
    }

    /// Asks for personas alone, where turns take long.
    pub fn begin_reading(target: &Target) -> Self {
        Self::asking(target, false)
    }

    #[expect(clippy::disallowed_methods, reason = "the test waits for both")]
    fn asking(target: &Target, turns: bool) -> Self {
        let (stop, peak, process) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)), target.process);
        let working = tokio::spawn(work(format!("http://{}", target.address), turns, stop.clone()));
        let (ending, highest) = (stop.clone(), Arc::clone(&peak));
        let looking = tokio::spawn(async move {
            while !ending.is_cancelled() {
                highest.fetch_max(resident_kib(process), Ordering::Relaxed);
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self { process, before: resident_kib(process), peak, stop, working, looking }
    }

    /// Lets the client finish; every request must have succeeded, and memory must have grown by no more than this.
    pub async fn ends(self, attack: &str, server: &str, most_mib: u64) {
        // A request or two after the attack, so that quick attacks are seen, too.
        sleep(Duration::from_millis(300)).await;
        self.stop.cancel();
        let mut took = self.working.await.expect("a request of the good client failed");
        self.looking.await.unwrap();
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let [before, peak, after] =
            [self.before, self.peak.load(Ordering::Relaxed), resident_kib(self.process)]
                .map(|kib| kib / 1024);
        println!(
            "| {attack} | {server} | {} | {:.1} / {:.1} ms | {before} / {peak} / {after} MiB |",
            took.len(),
            at(0.5),
            at(0.99)
        );
        assert!(peak <= before + most_mib, "{attack}: memory grew from {before} to {peak} MiB");
    }
}

/// Asks for the personas, and now and then has a whole turn, if it is to.
async fn work(base: String, turns: bool, stop: CancellationToken) -> Vec<Duration> {
    let client = || {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        builder.timeout(Duration::from_secs(30)).build().unwrap()
    };
    let (kept, mut took) = (client(), Vec::new());
    while !stop.is_cancelled() || took.is_empty() {
        let asking = if took.len() % FRESH == FRESH - 1 { client() } else { kept.clone() };
        let request = match took.len() % 4 {
            3 if turns => asking
                .post(format!("{base}/api/v1/chat"))
                .json(&json!({"message": "hello", "personas": ["guide"]})),
            _ => asking.get(format!("{base}/api/v1/personas")),
        };
        let began = Instant::now();
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer.bytes().await.unwrap();
        took.push(began.elapsed());
        sleep(PAUSE).await;
    }
    took
}

/// What the process has in memory, in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or(0, |value| value.trim().trim_end_matches(" kB").parse().unwrap())
}
