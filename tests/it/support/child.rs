use std::fs;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// A process that a test started; it is killed when dropped, also while it stands still.
pub struct OwnProcess {
    child: Mutex<Child>,
    stands_still: AtomicBool,
}

impl OwnProcess {
    pub fn of(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{program:?} ({error}): tests/run installs it"));
        Self { child: Mutex::new(child), stands_still: AtomicBool::new(false) }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap()
    }

    /// What it writes, once: its output and its errors.
    pub fn output(&self) -> (ChildStdout, ChildStderr) {
        let mut child = self.child();
        (child.stdout.take().unwrap(), child.stderr.take().unwrap())
    }

    /// Sends a signal, `-TERM` for example; to nobody if it has ended.
    pub fn signal(&self, name: &str) {
        let mut child = self.child();
        if child.try_wait().unwrap().is_none() {
            let id = child.id().to_string();
            assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
        }
    }

    /// Makes it stand still, to its last thread; its connections stay open.
    pub fn pause(&self) {
        self.signal("-STOP");
        self.stands_still.store(true, Ordering::SeqCst);
        let threads = format!("/proc/{}/task", self.child().id());
        let mut tries = 0..5_000;
        while !fs::read_dir(&threads).unwrap().all(|thread| is_stopped(&thread.unwrap().path())) {
            tries.next().expect("it does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal("-CONT");
        self.stands_still.store(false, Ordering::SeqCst);
    }

    /// Whether it neither ended nor stands still.
    pub fn is_live(&self) -> bool {
        self.ended().is_none() && !self.stands_still.load(Ordering::SeqCst)
    }

    /// Ends it at once; it can do nothing about that.
    pub fn kill_9(&self) {
        let mut child = self.child();
        drop(child.kill());
        child.wait().unwrap();
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().unwrap()
    }
}

/// Whether a thread is in state T; the state comes after the name in parentheses. One that has ended is stopped too.
fn is_stopped(thread: &Path) -> bool {
    let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        self.kill_9();
    }
}
