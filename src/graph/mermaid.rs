//! Drawing a graph as a Mermaid flow chart.

use super::builder::{Edge, Place, Work};
use super::{Graph, State, Step};

impl<S: State, T: Step, E: Send + 'static> Graph<S, T, E> {
    /// The graph as a Mermaid `flowchart TD`, the same text for the same graph: steps in the order in which they were
    /// written down, a fan-out as `step×` between thick edges, conditional edges dotted.
    pub fn mermaid(&self) -> String {
        let mut lines = vec!["flowchart TD\n    start([start])\n    finish([end])".to_owned()];
        lines.extend(self.places.iter().map(shape));
        lines.push(format!("    start {} {}", self.arrow_to(self.entry), id(self.entry)));
        lines.extend(self.places.iter().flat_map(|place| self.arrows(place)));
        lines.extend(self.on_cancel.map(|step| format!("    cancelled([cancelled]) -.-> {}", id(step))));
        lines.join("\n") + "\n"
    }

    fn arrows(&self, place: &Place<S, T, E>) -> Vec<String> {
        let from = id(place.step);
        match &place.edge {
            Edge::End => vec![format!("    {from} --> finish")],
            Edge::To(to) if matches!(place.work, Work::Each(_)) => {
                vec![format!("    {from} ==>|all ended| {}", id(*to))]
            }
            Edge::To(to) => vec![format!("    {from} {} {}", self.arrow_to(*to), id(*to))],
            Edge::Choice { targets, .. } => {
                targets.iter().map(|to| format!("    {from} -.->|if {to}| {}", id(*to))).collect()
            }
        }
    }

    fn arrow_to(&self, step: T) -> &'static str {
        match self.places[self.index[&step]].work {
            Work::One(_) => "-->",
            Work::Each(_) => "==>|for each|",
        }
    }
}

fn shape<S, T: Step, E>(place: &Place<S, T, E>) -> String {
    let step = place.step;
    match place.work {
        Work::One(_) => format!("    {}[\"{step}\"]", id(step)),
        Work::Each(_) => format!("    {}[[\"{step}×\"]]", id(step)),
    }
}

/// A name that no word of Mermaid's own can clash with.
fn id(step: impl Step) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("step_{step}").chars().map(plain).collect()
}
