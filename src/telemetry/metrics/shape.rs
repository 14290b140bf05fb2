//! What is known of a metric before it has a value.

/// Bounds of a histogram's buckets, in seconds.
pub(in crate::telemetry) struct Buckets {
    /// Why these.
    pub why: &'static str,
    pub bounds: &'static [f64],
}

impl Buckets {
    /// Of what is no histogram.
    pub(super) const NONE: Self = Self { why: "", bounds: &[] };
}

/// One metric as its family declares it.
pub(in crate::telemetry) struct Shape {
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its name, without the prefix.
    pub name: &'static str,
    pub help: &'static str,
    pub buckets: Buckets,
    /// Names and, where they are closed, values.
    pub labels: &'static [(&'static str, Option<&'static [&'static str]>)],
}

impl Shape {
    /// Every combination of label values; none if one of them is known only when the process starts.
    pub(super) fn combinations(&self) -> Vec<Vec<&'static str>> {
        let mut combinations = vec![Vec::new()];
        for (_, texts) in self.labels {
            let texts = texts.unwrap_or_default();
            combinations = combinations
                .iter()
                .flat_map(|begun| texts.iter().map(|text| [begun.as_slice(), &[*text]].concat()))
                .collect();
        }
        combinations
    }
}

/// The shape of this name.
#[expect(clippy::expect_used, reason = "a family asks for the names it has just declared")]
pub(super) fn named(shapes: &'static [Shape], name: &str) -> &'static Shape {
    shapes.iter().find(|shape| shape.name == name).expect("a declared metric")
}
