//! `docs/metrics.md`: every metric there is, from its declaration.

use std::fmt::Write as _;

use super::conventions::otel;
use super::series::most;
use super::shape::{Buckets, Shape};
use super::*;

/// Counted by standard output, of which there is one per process.
const DROPPED: &[Shape] = &[Shape {
    kind: "counter",
    name: "telemetry_dropped_total",
    help: "Log lines or spans dropped because nobody took them.",
    buckets: Buckets::NONE,
    labels: &[("signal", Some(&["logs", "traces"]))],
}];

const FAMILIES: [(&str, &[Shape]); 16] = [
    ("Requests", Http::SHAPES),
    ("TCP connections", Connections::SHAPES),
    ("Event streams", Sse::SHAPES),
    ("Sockets", WebSocket::SHAPES),
    ("Credentials", Auth::SHAPES),
    ("Limits", RateLimit::SHAPES),
    ("Breakers", Breakers::SHAPES),
    ("Turns and replies", Turns::SHAPES),
    ("Routing", Routing::SHAPES),
    ("The model", Model::SHAPES),
    ("Redis", Redis::SHAPES),
    ("Memory", Memory::SHAPES),
    ("Turn logs", TurnLog::SHAPES),
    ("Leases and the fleet", Leases::SHAPES),
    ("The process", Process::SHAPES),
    ("Telemetry itself", DROPPED),
];

/// What the operating system says of the process; without the prefix, as everywhere.
const BARE: [(&str, &str, &str, &str); 7] = [
    ("process_cpu_seconds_total", "counter", "CPU time used, user and system.", "process.cpu.time"),
    ("process_max_fds", "gauge", "How many files may be open.", ""),
    ("process_open_fds", "gauge", "How many files are open.", "process.unix.file_descriptor.count"),
    ("process_resident_memory_bytes", "gauge", "Resident memory.", "process.memory.usage"),
    ("process_start_time_seconds", "gauge", "When the process started, in Unix time.", ""),
    ("process_threads", "gauge", "Threads of the operating system.", "process.thread.count"),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory.", "process.memory.virtual"),
];

pub(super) fn shapes() -> impl Iterator<Item = &'static Shape> {
    FAMILIES.into_iter().flat_map(|(_, shapes)| shapes)
}

/// How many series one replica of a generous installation (10 personas, 5 upstreams, 5 policies) can have at most.
pub fn most_series() -> usize {
    shapes().map(most).sum::<usize>() + BARE.len()
}

/// The catalogue as Markdown.
pub fn markdown() -> String {
    let mut text = format!(
        "# Metrics\n\n\
        Generated: `polylogue metrics > docs/metrics.md`. The declarations in `src/telemetry/metrics` are the source;\n\
        `/metrics` of the management port shows them in Prometheus' text format. What a metric is, it is of one replica.\n\
        Every value a label can take is known when the process starts. *Series* is how many there can be with 10\n\
        personas, 5 upstreams and 5 policies: {} in all. Counters with closed labels exist from the start, at zero.\n\
        *OpenTelemetry* is the semantic convention that measures the same, where there is one (general conventions and\n\
        `semantic-conventions-genai`).\n",
        most_series()
    );
    for (title, shapes) in FAMILIES {
        section(&mut text, title, shapes);
    }
    text.push_str("\n## What the operating system says\n\n| metric | type | meaning | OpenTelemetry |\n|---|---|---|---|\n");
    for (name, kind, help, otel) in BARE {
        let _ = writeln!(text, "| `{name}` | {kind} | {help} | {} |", code(otel));
    }
    text
}

fn section(text: &mut String, title: &str, shapes: &[Shape]) {
    let _ = write!(
        text,
        "\n## {title}\n\n| metric | type | labels | meaning | series | OpenTelemetry |\n|---|---|---|---|---|---|\n"
    );
    for shape in shapes {
        let Shape { kind, name, help, .. } = shape;
        let (labels, series, otel) = (labels(shape), most(shape), code(otel(name)));
        let _ = writeln!(text, "| `polylogue_{name}` | {kind} | {labels} | {help} | {series} | {otel} |");
    }
    let histograms = shapes.iter().filter(|shape| shape.kind == "histogram");
    for (at, Shape { name, buckets: Buckets { why, bounds }, .. }) in histograms.enumerate() {
        let bounds = bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        let gap = if at == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}- `{name}` in seconds: {bounds}. {why}");
    }
}

fn labels(shape: &Shape) -> String {
    let one = |(name, texts): &(&str, Option<&[&str]>)| match texts {
        Some(texts) => format!("`{name}`: {}", texts.join(", ")),
        None => format!("`{name}`"),
    };
    shape.labels.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_catalogue_is_this_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let committed = std::fs::read_to_string(file).unwrap();
        assert!(committed == markdown(), "run: polylogue metrics > docs/metrics.md");
    }

    #[test]
    fn it_lists_what_the_operating_system_says_and_nothing_else() {
        let metrics = Metrics::new();
        let said: Vec<_> = metrics.bare.gather().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(said, BARE.map(|(name, ..)| name.to_owned()));
    }

    #[test]
    fn every_metric_that_shows_is_in_it() {
        let text = markdown();
        for family in Metrics::new().registry.gather() {
            assert!(text.contains(&format!("| `{}` | ", family.name())), "{}", family.name());
            assert!(text.contains(family.help()), "{}", family.help());
        }
    }

    #[test]
    fn every_histogram_has_a_reason_for_its_buckets() {
        for shape in shapes().filter(|shape| shape.kind == "histogram") {
            assert!(!shape.buckets.why.is_empty() && shape.buckets.bounds.is_sorted(), "{}", shape.name);
        }
    }
}
