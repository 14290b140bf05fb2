//! The results: as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::cli::LoadOptions;
use crate::idle::IdleCounts;
use crate::measure::{Counts, Measures, Second, Times, milliseconds};
use crate::process::{Cost, Watched};

/// Everything a run came to. Its members are the members of the JSON.
#[derive(Serialize)]
pub struct Report {
    /// `chat` or `direct`.
    pub kind: &'static str,
    /// `closed` or `open`.
    pub r#loop: &'static str,
    /// Turns that were due each second; absent in a closed loop.
    pub offered_rate: Option<f64>,
    /// Users of a closed loop; absent in an open one.
    pub concurrency: Option<usize>,
    /// How long was measured.
    pub seconds: f64,
    /// Turns completed each second inside the window.
    pub throughput: f64,
    /// Turns that were due in the window and completed without a flaw, also a little after it.
    pub completed: u64,
    /// The same, by how they were asked for.
    pub completed_by_kind: BTreeMap<&'static str, u64>,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// Refusals (429, 503) by code.
    pub refused: BTreeMap<String, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Arrivals of an open loop that found all places to wait taken.
    pub not_asked: u64,
    /// From when a turn was due to its end.
    pub latency_ms: Option<Percentiles>,
    /// From when a turn was due to its first token.
    pub first_token_ms: Option<Percentiles>,
    /// Between two tokens of one reply.
    pub token_gap_ms: Option<Percentiles>,
    /// From when a turn was due to its refusal.
    pub refusal_ms: Option<Percentiles>,
    /// The generator's own delay.
    pub late_ms: Option<Percentiles>,
    /// Ids that never came.
    pub lost_events: u64,
    /// Ids that came twice.
    pub doubled_events: u64,
    /// Ids that came after a later one.
    pub reordered_events: u64,
    /// Replies whose pieces do not make the whole, or that never ended.
    pub wrong_texts: u64,
    /// Events after the end of their turn.
    pub events_after_end: u64,
    /// Frames that contradict themselves.
    pub wrong_frames: u64,
    /// Pieces of text each second.
    pub tokens_per_second: f64,
    /// Bytes of answers each second.
    pub bytes_per_second: f64,
    /// Connections that were dropped on purpose and resumed.
    pub dropped_connections: u64,
    /// Connections that broke by themselves and were resumed.
    pub broken_connections: u64,
    /// The silent sockets, if any were asked for.
    pub idle_sockets: Option<IdleCounts>,
    /// The measured processes.
    pub process: Vec<Cost>,
    /// Of one core, what the generator itself used in the window: at 1 for each of its threads it is the bottleneck.
    pub generator_cpu_share: Option<f64>,
    /// Each second, warm-up included.
    pub series: Vec<Second>,
}

/// Of a distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
    pub count: u64,
}

impl Percentiles {
    fn of(times: &Times) -> Option<Self> {
        let at = |quantile| milliseconds(times.value_at_quantile(quantile) as f64);
        (!times.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(times.max() as f64),
            mean: milliseconds(times.mean()),
            count: times.len(),
        })
    }
}

impl Report {
    /// Sums up; the last of those watched is the generator itself.
    pub fn new(
        kind: &'static str,
        load: &LoadOptions,
        measures: &Measures,
        watched: &[Watched],
        idle_sockets: Option<IdleCounts>,
    ) -> Self {
        let window = measures.window();
        let seconds = (window.to - window.from).as_secs_f64();
        let counts = measures.counts();
        let Counts { flaws, .. } = &*counts;
        let each_second = |count: u64| if seconds > 0.0 { round(count as f64 / seconds) } else { 0.0 };
        let open = idle_sockets.as_ref().map_or(0, |idle| idle.open);
        let mut process: Vec<_> =
            watched.iter().map(|one| one.cost(counts.completed, seconds, open)).collect();
        let generator = process.pop().flatten();
        Self {
            kind,
            r#loop: if load.rate.is_some() { "open" } else { "closed" },
            offered_rate: load.rate,
            concurrency: load.rate.is_none().then_some(load.concurrency),
            seconds: round(seconds),
            throughput: each_second(counts.completed_inside),
            completed: counts.completed,
            completed_by_kind: counts.kinds.clone(),
            errors: counts.errors.clone(),
            refused: counts.refused.clone(),
            statuses: counts.statuses.clone(),
            not_asked: counts.not_asked,
            latency_ms: Percentiles::of(&counts.latency),
            first_token_ms: Percentiles::of(&counts.first_token),
            token_gap_ms: Percentiles::of(&counts.token_gap),
            refusal_ms: Percentiles::of(&counts.refusal),
            late_ms: Percentiles::of(&counts.late),
            lost_events: flaws.lost,
            doubled_events: flaws.doubled,
            reordered_events: flaws.reordered,
            wrong_texts: flaws.wrong_texts,
            events_after_end: flaws.after_end,
            wrong_frames: flaws.wrong_frames,
            tokens_per_second: each_second(counts.tokens),
            bytes_per_second: each_second(counts.bytes),
            dropped_connections: counts.dropped_connections,
            broken_connections: counts.broken_connections,
            idle_sockets,
            process: process.into_iter().flatten().collect(),
            generator_cpu_share: generator.map(|cost| cost.cpu_share),
            series: counts.series.seconds().cloned().collect(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_value(self).as_ref().map(Value::to_string).unwrap_or_default()
    }

    /// Whether nothing failed, and no event was wrong.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
            && self.idle_sockets.as_ref().is_none_or(|idle| idle.open == idle.wanted && idle.lost.is_empty())
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut table = Table::default();
        table.line("measured", &format!("{} s, {}", self.seconds, self.pace()));
        table.line("throughput", &format!("{} completed turns/s", self.throughput));
        table.line("completed", &format!("{}{}", self.completed, listed(&self.completed_by_kind)));
        table.line("refused", &counted(&self.refused));
        table.line("errors", &counted(&self.errors));
        if self.not_asked > 0 {
            table.line(
                "not asked",
                &format!("{}: the generator had no place for them to wait", self.not_asked),
            );
        }
        table.line("events", &self.events());
        if self.dropped_connections + self.broken_connections > 0 {
            let (dropped, broken) = (self.dropped_connections, self.broken_connections);
            table.line("resumed", &format!("{dropped} dropped on purpose, {broken} that broke"));
        }
        table.line("tokens", &format!("{}/s, {} bytes/s", self.tokens_per_second, self.bytes_per_second));
        table.times(&[
            ("latency", self.latency_ms),
            ("first token", self.first_token_ms),
            ("token gap", self.token_gap_ms),
            ("refusal", self.refusal_ms),
            ("asked late", self.late_ms),
        ]);
        if let Some(idle) = &self.idle_sockets {
            let open = format!("{} of {} open, {} pings answered", idle.open, idle.wanted, idle.pings);
            let (refused, lost) = (counted(&idle.refused), counted(&idle.lost));
            table.line("idle sockets", &format!("{open}; refused {refused}; lost {lost}"));
        }
        if let Some(share) = self.generator_cpu_share {
            table.line("generator", &format!("{:.0} % of a core", share * 100.0));
        }
        for cost in &self.process {
            table.process(cost);
        }
        table.0
    }

    fn pace(&self) -> String {
        match (self.offered_rate, self.concurrency) {
            (Some(rate), _) => format!("open loop, {rate} turns/s due"),
            (None, users) => format!("closed loop, {} users", users.unwrap_or_default()),
        }
    }

    fn events(&self) -> String {
        let wrong = self.reordered_events + self.wrong_texts + self.events_after_end + self.wrong_frames;
        format!("{} lost, {} doubled, {wrong} wrong otherwise", self.lost_events, self.doubled_events)
    }
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, name: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name:<13} {value}");
    }

    fn times(&mut self, rows: &[(&str, Option<Percentiles>)]) {
        let heads = ["p50", "p90", "p99", "p99.9", "max", "mean"].map(|head| format!("{head:>11}"));
        self.line("ms", &heads.concat());
        for (name, percentiles) in rows {
            let Some(at) = percentiles else { continue };
            let values = [at.p50, at.p90, at.p99, at.p999, at.max, at.mean];
            self.line(name, &values.map(|value| format!("{value:>11.3}")).concat());
        }
    }

    fn process(&mut self, cost: &Cost) {
        let each =
            |value: Option<f64>, unit: &str| value.map_or(String::new(), |value| format!(", {value} {unit}"));
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let memory = format!(
            "{} MB, then {}, at the end {}{}",
            megabytes(cost.rss_start),
            megabytes(cost.rss_warm),
            megabytes(cost.rss_end),
            each(cost.rss_per_idle_socket, "bytes for each idle socket"),
        );
        let cpu = format!(
            "{} s CPU, {:.0} % of a core{}",
            cost.cpu_seconds,
            cost.cpu_share * 100.0,
            each(cost.cpu_ms_per_request, "ms for each turn"),
        );
        self.line(&format!("process {}", cost.pid), &cpu);
        self.line("", &memory);
        let (start, end) = (cost.descriptors_start, cost.descriptors_end);
        self.line("", &format!("{start} descriptors, at the end {end}; {} threads", cost.threads));
    }
}

fn counted(counts: &BTreeMap<String, u64>) -> String {
    format!("{}{}", counts.values().sum::<u64>(), listed(counts))
}

fn listed<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let each: Vec<_> = counts.iter().map(|(name, count)| format!("{} {count}", name.as_ref())).collect();
    format!(" ({})", each.join(", "))
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
