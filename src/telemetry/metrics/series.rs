//! How many series there can be, computed from the labels, so that the bound is known before production.

use super::shape::Shape;

/// A generous installation: 10 personas, 5 upstreams with a model each, 5 policies.
fn names(label: &str) -> usize {
    match label {
        "persona" => 10,
        "upstream" | "model" | "policy" => 5,
        // One per upstream, Redis', and that of decisions of limits.
        "breaker" => 7,
        "event" => 20,
        // One each, like the version and the revision; a test knows every label there is.
        _ => 1,
    }
}

/// Operations of the API, and its paths (each has OPTIONS).
const OPERATIONS: usize = 15;
const PATHS: usize = 13;
/// Pages beside it, each with GET and OPTIONS.
const PAGES: usize = 9;

/// How often a metric's labels can combine. Labels that are not independent are counted instead of multiplied.
fn combinations(shape: &Shape) -> usize {
    match shape.name {
        // 200, 202, 204, 400, 404, 409, 429, 499, 500 and 503 each: more than any one operation has.
        "http_requests_total" => (OPERATIONS + 1) * 10 + (PATHS + 2 * PAGES) * 3,
        // An operation answers 2xx (the upgrade 1xx), 4xx and 5xx; a page and a preflight two of them.
        "http_request_duration_seconds" => (OPERATIONS + 1) * 3 + (PATHS + 2 * PAGES) * 2,
        _ => {
            let mut labels: Vec<_> = shape.labels.to_vec();
            // An upstream serves one model.
            if labels.iter().any(|(name, _)| *name == "upstream") {
                labels.retain(|(name, _)| *name != "model");
            }
            labels.iter().map(|(name, texts)| texts.map_or_else(|| names(name), <[_]>::len)).product()
        }
    }
}

/// How many series this metric can have at most.
pub(super) fn most(shape: &Shape) -> usize {
    // Each bucket, +Inf, the sum and the count.
    let each = if shape.kind == "histogram" { shape.buckets.bounds.len() + 3 } else { 1 };
    combinations(shape) * each
}

#[cfg(test)]
mod tests {
    use super::super::catalogue;
    use super::*;

    #[test]
    fn the_number_of_series_stays_below_5000() {
        let mut all: Vec<_> = catalogue::shapes().map(|shape| (most(shape), shape.name)).collect();
        all.sort();
        let total = catalogue::most_series();
        assert!(total < 5000, "{total} series: {all:?}");
    }

    #[test]
    fn every_open_label_is_counted() {
        let known = [
            "persona", "upstream", "model", "policy", "breaker", "event", "version", "revision", "route",
            "status",
        ];
        for shape in catalogue::shapes() {
            for (label, texts) in shape.labels {
                assert!(texts.is_some() || known.contains(label), "{label} of {}", shape.name);
            }
        }
    }
}
