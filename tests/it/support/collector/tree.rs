use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::received::{Attributes, Span};

/// Traces as people read them: each span below its parent, with what happened in it.
pub fn tree(spans: &[Span]) -> String {
    let mut out = String::new();
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut roots: Vec<_> = spans.iter().filter(|span| !known.contains(span.parent.as_str())).collect();
    roots.sort_by_key(|span| span.start);
    for root in roots {
        writeln!(out, "trace {}", root.trace).unwrap();
        write(&mut out, root, spans, 1);
    }
    out
}

fn write(out: &mut String, span: &Span, all: &[Span], depth: usize) {
    let indent = "  ".repeat(depth);
    let (took, failed) = ((span.end - span.start) as f64 / 1e6, if span.has_failed { " FAILED" } else { "" });
    writeln!(out, "{indent}{} {} {} {took:.1} ms{failed}", span.name, span.kind, &span.id[..6]).unwrap();
    writeln!(out, "{indent}    {}", said(&span.attributes)).unwrap();
    for (trace, id) in &span.links {
        writeln!(out, "{indent}    -> link to {}… in trace {}…", &id[..6], &trace[..6]).unwrap();
    }
    for (name, attributes) in &span.events {
        writeln!(out, "{indent}    * {name} {}", said(attributes)).unwrap();
    }
    let mut below: Vec<_> = all.iter().filter(|it| it.parent == span.id && it.trace == span.trace).collect();
    below.sort_by_key(|span| span.start);
    below.into_iter().for_each(|child| write(out, child, all, depth + 1));
}

fn said(attributes: &Attributes) -> String {
    let pairs: Vec<_> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}
