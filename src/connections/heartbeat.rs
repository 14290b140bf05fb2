//! When a socket is to be pinged, and when it has been silent for too long. Decides; waits for nothing.

use std::time::Duration;

use tokio::time::Instant;

/// How much the time between two pings varies, so that sockets opened together do not stay in step.
const JITTER: f64 = 0.1;

/// One socket's heartbeat.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    idle_ttl: Duration,
    next_ping: Instant,
    /// When the first ping was sent after which nothing was heard.
    unanswered: Option<Instant>,
    last_active: Instant,
}

/// What the heartbeat wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a ping.
    Ping,
    /// Nothing came back in time.
    Silent,
    /// No application frame went either way for too long.
    Idle,
}

impl Heartbeat {
    pub fn new(interval: Duration, timeout: Duration, idle_ttl: Duration, now: Instant) -> Self {
        let next_ping = now + varied(interval);
        Self { interval, timeout, idle_ttl, next_ping, unanswered: None, last_active: now }
    }

    /// Something was heard, whatever it was.
    pub fn heard(&mut self) {
        self.unanswered = None;
    }

    /// An application frame went either way.
    pub fn active(&mut self, now: Instant) {
        self.last_active = now;
    }

    /// When to look again, unless something happens before.
    pub fn deadline(&self) -> Instant {
        let idle = self.last_active + self.idle_ttl;
        let silent = self.unanswered.map_or(idle, |since| since + self.timeout);
        self.next_ping.min(idle).min(silent)
    }

    /// What is to be done at `now`; a ping counts as sent when this says so.
    pub fn beat(&mut self, now: Instant) -> Option<Beat> {
        if self.unanswered.is_some_and(|since| now >= since + self.timeout) {
            return Some(Beat::Silent);
        }
        if now >= self.last_active + self.idle_ttl {
            return Some(Beat::Idle);
        }
        if now < self.next_ping {
            return None;
        }
        self.next_ping = now + varied(self.interval);
        self.unanswered.get_or_insert(now);
        Some(Beat::Ping)
    }
}

fn varied(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * rand::random_range(-1.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(3600);

    fn heartbeat(now: Instant) -> Heartbeat {
        Heartbeat::new(INTERVAL, TIMEOUT, IDLE, now)
    }

    #[test]
    fn a_ping_is_due_after_the_interval_give_or_take_a_tenth() {
        for _ in 0..1000 {
            let now = Instant::now();
            let wait = heartbeat(now).deadline() - now;
            assert!((27.0..=33.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }

    #[test]
    fn silence_counts_from_the_first_unanswered_ping() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);

        let pinged = heartbeat.deadline();
        assert_eq!(heartbeat.beat(pinged), Some(Beat::Ping));
        assert_eq!(heartbeat.deadline(), pinged + TIMEOUT);
        assert_eq!(heartbeat.beat(pinged + TIMEOUT), Some(Beat::Silent));
    }

    #[test]
    fn an_answer_ends_the_silence_but_not_the_idleness() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);
        let mut pings = 0;

        let (end, after) = loop {
            let now = heartbeat.deadline();
            match heartbeat.beat(now) {
                Some(Beat::Ping) => pings += 1,
                Some(end @ (Beat::Silent | Beat::Idle)) => break (end, now - start),
                None => {}
            }
            heartbeat.heard();
        };

        assert_eq!((end, after), (Beat::Idle, IDLE));
        assert!((109..=133).contains(&pings), "{pings}");
    }

    #[test]
    fn an_application_frame_puts_the_idle_end_off() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);
        let later = start + IDLE - Duration::from_secs(1);
        heartbeat.active(later);
        heartbeat.next_ping = start + IDLE * 3;
        assert_eq!(heartbeat.beat(start + IDLE), None);
        assert_eq!(heartbeat.beat(later + IDLE), Some(Beat::Idle));
    }
}
