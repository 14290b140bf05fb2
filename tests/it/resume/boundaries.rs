//! Wherever a reader is cut: what it saw and what it gets then are the whole turn, nothing twice.

use std::sync::LazyLock;

use polylogue::simulator::{Fault, Rule};
use proptest::prelude::*;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{DOORS, Reader, ask, data, id, is_terminal};
use crate::support::{Sse, TestApp, says};

const PERSONAS: [&str; 3] = ["guide", "skeptic", "historian"];

/// What one persona does in a turn.
#[derive(Clone, Debug)]
struct Part {
    tokens: usize,
    /// Where it waits until the test has cut its readers.
    pauses_after: usize,
    fault: Option<Fault>,
}

impl Part {
    fn rule(&self, persona: &str) -> Rule {
        let tokens = (0..self.tokens).map(|n| format!("{persona} {n}\n\ndata: \u{1f40e} "));
        Rule { fault: self.fault, ..says(persona, tokens).pausing_after(self.pauses_after) }
    }
}

fn part() -> impl Strategy<Value = Part> {
    (1_usize..6).prop_flat_map(|tokens| {
        // A fault comes after the pause, so that the test knows what is there to be seen in the pause.
        (0..=tokens).prop_flat_map(move |pauses_after| {
            let fault = (pauses_after..=tokens).prop_flat_map(|after_tokens| {
                prop_oneof![
                    4 => Just(None),
                    1 => Just(Some(Fault::CutStream { after_tokens })),
                    1 => Just(Some(Fault::ErrorInStream { after_tokens })),
                    1 => Just(Some(Fault::NoFinishReason)),
                ]
            });
            fault.prop_map(move |fault| Part { tokens, pauses_after, fault })
        })
    })
}

/// One service for all cases: what one turn leaves behind must not matter to the next.
static STAGE: LazyLock<(Runtime, TestApp)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::with(|config| {
        config.llm.retry.attempts = 1.try_into().unwrap();
        config.llm.breaker.failures = 1_000_000.try_into().unwrap();
    }));
    (runtime, app)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_reader_cut_anywhere_goes_on_exactly_there(parts in prop::collection::vec(part(), 1..=3)) {
        let (runtime, app) = &*STAGE;
        runtime.block_on(cut_everywhere(app, &parts));
    }
}

async fn cut_everywhere(app: &TestApp, parts: &[Part]) {
    let personas = &PERSONAS[..parts.len()];
    app.model.rules(parts.iter().zip(personas).map(|(part, persona)| part.rule(persona)));
    let mut stream = app.stream(ask(personas)).await;
    let turn = stream.turn();
    let mut whole =
        until_pause(&mut stream, parts.iter().map(|part| part.pauses_after).sum(), personas.len()).await;

    let mut cut_while_it_runs = Vec::new();
    for (place, event) in whole.iter().enumerate() {
        for door in DOORS {
            cut_while_it_runs.push((door, place, Reader::open(app, door, &turn, id(event)).await));
        }
    }
    app.model.go_on();
    whole.extend(data(stream.rest().await));

    assert!(whole.last().is_some_and(is_terminal));
    for (place, event) in whole.iter().enumerate() {
        assert_eq!(id(event), format!("1-{}", place + 1));
    }
    for (door, place, reader) in cut_while_it_runs {
        assert_eq!(reader.rest().await, whole[place + 1..], "{door:?} after {place}, while it ran");
    }
    for place in 0..whole.len() - 1 {
        for door in DOORS {
            let reader = Reader::open(app, door, &turn, id(&whole[place])).await;
            assert_eq!(reader.rest().await, whole[place + 1..], "{door:?} after {place}, after its end");
        }
    }
}

/// Everything there is to be seen until all personas pause.
async fn until_pause(stream: &mut Sse, deltas: usize, personas: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    let count = |seen: &[Value], kind: &str| seen.iter().filter(|event| event["type"] == kind).count();
    while count(&seen, "reply.delta") < deltas || count(&seen, "reply.started") < personas {
        seen.push(stream.next().await.unwrap().data);
    }
    seen
}
