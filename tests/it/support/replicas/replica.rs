use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::{Client, OwnProcess, eventually, metric, ports};
use super::Plan;
use super::lines::Lines;

/// More than a busy machine needs to start one.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of its log a test that fails shows.
const SHOWN: usize = 60;

/// A replica as a process; killed when dropped, and then its last log lines are shown if the test has failed.
pub struct Replica {
    pub client: Client,
    pub management: Client,
    plan: Plan,
    ports: (u16, u16),
    child: Mutex<OwnProcess>,
    lines: Lines,
}

impl Replica {
    /// Starts it on ports of its own, others if they turn out to be taken, and waits until it is ready.
    pub(super) async fn start(plan: Plan) -> Self {
        loop {
            let replica = Self::spawn(plan.clone(), (ports::free(), ports::free()));
            match replica.is_ready_after(0).await {
                Ok(()) => return replica,
                Err(Some(69)) => {}
                Err(code) => panic!("a replica ended with {code:?}: {}", replica.lines.last(SHOWN)),
            }
        }
    }

    fn spawn(plan: Plan, ports: (u16, u16)) -> Self {
        let lines = Lines::default();
        let child = run(&plan, ports, &lines);
        let client = |port: u16| Client::of(&format!("127.0.0.1:{port}"));
        Self {
            client: client(ports.0),
            management: client(ports.1),
            plan,
            ports,
            child: Mutex::new(child),
            lines,
        }
    }

    /// Waits for the line that says so, of those after so many; the exit code if it ends instead.
    async fn is_ready_after(&self, lines: usize) -> Result<(), Option<i32>> {
        let began = Instant::now();
        while self.lines.events("application_ready", lines).is_empty() {
            if let Some(status) = self.child.lock().unwrap().ended() {
                return Err(status.code());
            }
            assert!(began.elapsed() < PATIENCE, "a replica does not start: {}", self.lines.last(SHOWN));
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts it again, on its ports, as another process; the old one is killed if it still runs.
    pub async fn restart(&self) {
        self.kill_9();
        let before = self.lines.count();
        *self.child.lock().unwrap() = run(&self.plan, self.ports, &self.lines);
        let ready = self.is_ready_after(before).await;
        ready.unwrap_or_else(|code| panic!("it ended with {code:?}: {}", self.lines.last(SHOWN)));
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0)
    }

    /// Whether it neither ended nor stands still.
    pub fn is_live(&self) -> bool {
        self.child.lock().unwrap().is_live()
    }

    /// Ends it at once.
    pub fn kill_9(&self) {
        self.child.lock().unwrap().kill_9();
    }

    /// Makes it stand still: its connections stay open and nothing comes.
    pub fn pause(&self) {
        self.child.lock().unwrap().pause();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.child.lock().unwrap().go_on();
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        self.child.lock().unwrap().signal("-TERM");
    }

    /// Waits for its end; `None` if a signal was the end.
    pub async fn exit_code(&self) -> Option<i32> {
        let ended = || self.child.lock().unwrap().ended();
        eventually("the replica ends", async || ended().is_some()).await;
        ended().unwrap().code()
    }

    /// The value of a series on its management port; 0 if it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let answer = self.management.get("/metrics").await;
        metric(answer.body.as_str().unwrap(), series)
    }

    /// What `/status` says.
    pub async fn status(&self) -> Value {
        self.management.get("/status").await.body
    }

    /// Everything it wrote that is still kept.
    pub fn log(&self) -> String {
        self.lines.last(usize::MAX)
    }

    /// The log lines of this event that are still kept.
    pub fn logged(&self, event: &str) -> Vec<Value> {
        self.lines.events(event, 0)
    }

    /// The turn as this replica tells it.
    pub async fn turn(&self, turn: &str) -> Value {
        self.client.get(&format!("/api/v1/turns/{turn}")).await.body
    }

    /// Waits until the turn has ended, and returns it.
    pub async fn ended(&self, turn: &str) -> Value {
        let has_ended = async || self.turn(turn).await["ended_at"].is_string();
        eventually("the turn has ended", has_ended).await;
        self.turn(turn).await
    }
}

fn run(plan: &Plan, (public, management): (u16, u16), lines: &Lines) -> OwnProcess {
    let child = OwnProcess::of(&mut plan.command(public, management));
    let (stdout, stderr) = child.output();
    lines.read(stdout);
    lines.read(stderr);
    child
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            eprintln!("--- the last lines of {}:\n{}", self.address(), self.lines.last(SHOWN));
        }
    }
}
