//! How many series there can be: a test computes it from the labels, so that the bound is known before production.

use super::*;

/// What multiplies one metric's series.
pub(super) struct Shape {
    pub name: &'static str,
    pub buckets: &'static [f64],
    pub labels: &'static [(&'static str, Option<usize>)],
}

const FAMILIES: [&[Shape]; 15] = [
    Auth::SHAPES,
    Http::SHAPES,
    Connections::SHAPES,
    Sse::SHAPES,
    WebSocket::SHAPES,
    RateLimit::SHAPES,
    Breakers::SHAPES,
    Turns::SHAPES,
    Routing::SHAPES,
    Model::SHAPES,
    Redis::SHAPES,
    Memory::SHAPES,
    TurnLog::SHAPES,
    Leases::SHAPES,
    Process::SHAPES,
];

/// A generous installation: 10 personas, 5 upstreams with a model each, 5 policies.
fn names(label: &str) -> usize {
    match label {
        "persona" => 10,
        "upstream" | "model" | "policy" => 5,
        // One per upstream, Redis', and that of decisions of limits.
        "breaker" => 7,
        "event" => 20,
        "version" | "revision" => 1,
        other => panic!("how many values can {other} have?"),
    }
}

/// Labels that are not independent: their combinations, counted instead of multiplied.
fn combinations(shape: &Shape) -> usize {
    /// 14 operations, HEAD where there is a GET, unmatched and the pages.
    const METHODS_AND_ROUTES: usize = 27;
    /// OPTIONS for each path: 204, or refused.
    const OPTIONS: usize = 12 * 2;
    match shape.name {
        // 200, 202, 204, 400, 404, 409, 429, 499, 500 and 503 each: more than any one operation has.
        "http_requests_total" => METHODS_AND_ROUTES * 10 + OPTIONS,
        // Nothing answers 1xx or 3xx but the upgrade and the redirect of `/`.
        "http_request_duration_seconds" => METHODS_AND_ROUTES * 3 + OPTIONS,
        _ => {
            let mut labels: Vec<_> = shape.labels.to_vec();
            // An upstream serves one model.
            if labels.iter().any(|(name, _)| *name == "upstream") {
                labels.retain(|(name, _)| *name != "model");
            }
            labels.iter().map(|(name, count)| count.unwrap_or_else(|| names(name))).product()
        }
    }
}

#[test]
fn the_number_of_series_stays_below_5000() {
    let mut all = Vec::new();
    for shape in FAMILIES.into_iter().flatten() {
        // Each bucket, +Inf, the sum and the count.
        let each = if shape.buckets.is_empty() { 1 } else { shape.buckets.len() + 3 };
        all.push((combinations(shape) * each, shape.name));
    }
    all.sort();
    let total: usize = all.iter().map(|(series, _)| series).sum();
    assert!(total < 5000, "{total} series: {all:?}");
}
