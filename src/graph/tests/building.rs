use super::*;

type Builder = GraphBuilder<Tally, Stage, Fault>;

fn fault(builder: Builder) -> BuildError<Stage> {
    builder.build().err().expect("a fault")
}

#[test]
fn a_graph_without_its_entry_is_refused() {
    let graph = Graph::builder(Stage::Split).node(Stage::Sum, Sum).ends();
    assert_eq!(fault(graph), BuildError::NoEntry(Stage::Split));
}

#[test]
fn a_step_that_is_there_twice_is_refused() {
    let graph = Graph::builder(Stage::Sum).node(Stage::Sum, Sum).ends().node(Stage::Sum, Sum).ends();
    assert_eq!(fault(graph), BuildError::Duplicate(Stage::Sum));
}

#[test]
fn an_edge_that_leads_nowhere_is_refused() {
    let graph = Graph::builder(Stage::Gather).node(Stage::Gather, Pass(Stage::Gather)).then(Stage::Sum);
    assert_eq!(fault(graph), BuildError::UnknownTarget { from: Stage::Gather, to: Stage::Sum });
}

#[test]
fn a_choice_that_may_lead_nowhere_is_refused() {
    let graph = Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .route_to([Stage::Sum, Stage::Split], |_| Stage::Sum)
        .node(Stage::Sum, Sum)
        .ends();
    assert_eq!(fault(graph), BuildError::UnknownTarget { from: Stage::Gather, to: Stage::Split });
}

#[test]
fn a_step_that_no_edge_leads_to_is_refused() {
    let graph = Graph::builder(Stage::Sum)
        .node(Stage::Sum, Sum)
        .ends()
        .node(Stage::Split, Pass(Stage::Split))
        .then(Stage::Sum);
    assert_eq!(fault(graph), BuildError::Unreachable(Stage::Split));
}

#[test]
fn a_step_that_only_a_cancel_leads_to_is_fine() {
    let graph = Graph::builder(Stage::Sum)
        .node(Stage::Sum, Sum)
        .ends()
        .node(Stage::Gather, Pass(Stage::Gather))
        .ends()
        .on_cancel(Stage::Gather);
    assert!(graph.build().is_ok());
}

#[test]
fn a_loop_that_no_edge_leaves_is_refused() {
    let graph = Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .route_to([Stage::Split, Stage::Sum], |_| Stage::Sum)
        .node(Stage::Split, Pass(Stage::Split))
        .then(Stage::Split)
        .node(Stage::Sum, Sum)
        .ends();
    assert_eq!(fault(graph), BuildError::NoEnd(Stage::Split));
}

#[test]
fn a_choice_between_nothing_is_refused() {
    let graph = Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .route_to([], |_| Stage::Gather);
    assert_eq!(fault(graph), BuildError::NoEnd(Stage::Gather));
}

#[test]
fn a_step_after_a_cancel_that_is_not_there_is_refused() {
    let graph = Graph::builder(Stage::Sum).node(Stage::Sum, Sum).ends().on_cancel(Stage::Gather);
    assert_eq!(fault(graph), BuildError::NoCancelStep(Stage::Gather));
}

#[test]
fn the_drawing_shows_entry_fan_out_conditions_and_end() {
    let graph = Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .route_to([Stage::Split, Stage::Sum], |_| Stage::Sum)
        .node(Stage::Split, Split(&[]))
        .then(Stage::Count)
        .node(Stage::Count, Count)
        .for_each(|tally: &Tally| tally.uncounted())
        .then(Stage::Sum)
        .node(Stage::Sum, Sum)
        .ends()
        .on_cancel(Stage::Sum)
        .build()
        .unwrap();

    insta::assert_snapshot!(graph.mermaid(), @r#"
    flowchart TD
        start([start])
        finish([end])
        step_gather["gather"]
        step_split["split"]
        step_count[["count×"]]
        step_sum["sum"]
        start --> step_gather
        step_gather -.->|if split| step_split
        step_gather -.->|if sum| step_sum
        step_split ==>|for each| step_count
        step_count ==>|all ended| step_sum
        step_sum --> finish
        cancelled([cancelled]) -.-> step_sum
    "#);
}
