use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;

type Ran = Result<Tally, GraphError<Tally, Stage, Fault>>;

async fn run(builder: GraphBuilder<Tally, Stage, Fault>, start: Tally) -> Ran {
    let graph = builder.build().unwrap();
    graph.run(Start::Beginning(start), &NoCheckpoints, CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn steps_run_in_the_order_of_the_edges_and_their_updates_add_up() {
    let tally = run(flow(&["to", "be"]), Tally::default()).await.unwrap();
    assert_eq!(tally.trail, [Stage::Gather]);
    assert_eq!(tally.words, ["to", "be"]);
    assert_eq!(tally.sum, Some(4));
}

#[tokio::test(start_paused = true)]
async fn parallel_branches_take_the_time_of_the_slowest_and_join_in_order_of_ending() {
    let begun = Instant::now();
    let tally = run(flow(&["seven77", "two", "fives"]), Tally::default()).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 7);
    assert_eq!(tally.counted, [("two", 3), ("fives", 5), ("seven77", 7)]);
}

#[tokio::test(start_paused = true)]
async fn branches_run_one_after_the_other_where_the_state_says_so() {
    let begun = Instant::now();
    let start = Tally { one_by_one: true, ..Tally::default() };
    let tally = run(flow(&["seven77", "two", "fives"]), start).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(tally.counted, [("seven77", 7), ("two", 3), ("fives", 5)]);
}

#[tokio::test]
async fn a_fan_out_over_nothing_goes_straight_on() {
    assert_eq!(run(flow(&[]), Tally::default()).await.unwrap().sum, Some(0));
}

#[tokio::test]
async fn a_condition_chooses_the_way_by_the_state() {
    let graph = || {
        Graph::builder(Stage::Gather)
            .node(Stage::Gather, Pass(Stage::Gather))
            .route_to([Stage::Split, Stage::Sum], |tally: &Tally| match tally.one_by_one {
                true => Stage::Split,
                false => Stage::Sum,
            })
            .node(Stage::Split, Pass(Stage::Split))
            .then(Stage::Sum)
            .node(Stage::Sum, Pass(Stage::Sum))
            .ends()
    };
    let long = run(graph(), Tally { one_by_one: true, ..Tally::default() }).await.unwrap();
    let short = run(graph(), Tally::default()).await.unwrap();
    assert_eq!(long.trail, [Stage::Gather, Stage::Split, Stage::Sum]);
    assert_eq!(short.trail, [Stage::Gather, Stage::Sum]);
}

#[tokio::test]
async fn a_condition_may_not_choose_what_its_edge_does_not_declare() {
    let graph = Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .route_to([Stage::Sum], |_| Stage::Gather)
        .node(Stage::Sum, Sum)
        .ends();
    let error = run(graph, Tally::default()).await.unwrap_err();
    assert!(matches!(error, GraphError::Undeclared { from: Stage::Gather, to: Stage::Gather }));
}

#[tokio::test]
async fn a_loop_ends_at_its_budget() {
    let graph = Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .route_to([Stage::Gather, Stage::Sum], |_| Stage::Gather)
        .node(Stage::Sum, Sum)
        .ends()
        .step_budget(5);
    let error = run(graph, Tally::default()).await.unwrap_err();
    assert!(matches!(error, GraphError::BudgetExceeded { budget: 5 }));
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_branch_ends_the_run_and_names_the_step() {
    let error = run(flow(&["good", "bad"]), Tally::default()).await.unwrap_err();
    assert!(matches!(error, GraphError::Node { step: Stage::Count, source: Fault("a bad word") }));
}

#[tokio::test(start_paused = true)]
async fn every_node_and_every_branch_leaves_a_checkpoint() {
    let recorded = Recorded::default();
    let graph = flow(&["to", "be"]).build().unwrap();
    graph.run(Start::Beginning(Tally::default()), &recorded, CancellationToken::new()).await.unwrap();

    let next: Vec<_> = recorded.all().into_iter().map(|point| point.next).collect();
    let (split, count, sum) = (Some(Stage::Split), Some(Stage::Count), Some(Stage::Sum));
    assert_eq!(next, [split, count, count, count, sum, None]);
}

#[tokio::test(start_paused = true)]
async fn a_run_taken_up_at_any_checkpoint_ends_in_the_same_state() {
    for one_by_one in [false, true] {
        let recorded = Recorded::default();
        let graph = flow(&["seven77", "two", "fives", "one"]).build().unwrap();
        let start = Start::Beginning(Tally { one_by_one, ..Tally::default() });
        let expected = graph.run(start, &recorded, CancellationToken::new()).await.unwrap();

        for point in recorded.all() {
            let resumed =
                graph.run(Start::At(point), &NoCheckpoints, CancellationToken::new()).await.unwrap();
            let sorted = |tally: &Tally| {
                let mut counted = tally.counted.clone();
                counted.sort_unstable();
                counted
            };
            assert_eq!(sorted(&resumed), sorted(&expected));
            assert_eq!((resumed.trail, resumed.sum), (expected.trail.clone(), expected.sum));
        }
    }
}

/// Takes 10 s to save.
struct Slow;

#[async_trait]
impl Checkpointer<Tally, Stage, Fault> for Slow {
    async fn save(&self, _checkpoint: &Checkpoint<Tally, Stage>) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn branches_do_not_wait_while_another_is_saved() {
    let graph = Graph::builder(Stage::Count)
        .node(Stage::Count, Count)
        .for_each(|tally: &Tally| tally.uncounted())
        .ends()
        .build()
        .unwrap();
    let start = Tally { words: vec!["one", "eleven_char"], ..Tally::default() };
    let begun = Instant::now();
    graph.run(Start::Beginning(start), &Slow, CancellationToken::new()).await.unwrap();
    // 3 s for the first word, and 10 s for each of two branches and the step; the second word's 11 s pass meanwhile.
    assert_eq!(begun.elapsed().as_secs(), 33);
}

/// Always fails.
struct Failing;

#[async_trait]
impl Checkpointer<Tally, Stage, Fault> for Failing {
    async fn save(&self, _checkpoint: &Checkpoint<Tally, Stage>) -> Result<(), Fault> {
        Err(Fault("no room"))
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_saved_ends_the_run() {
    let graph = flow(&[]).build().unwrap();
    let start = Start::Beginning(Tally::default());
    let error = graph.run(start, &Failing, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, GraphError::Checkpoint { next: Some(Stage::Split), source: Fault("no room") }));
}

async fn cancelled_after(seconds: u64, builder: GraphBuilder<Tally, Stage, Fault>, start: Tally) -> Ran {
    let graph = builder.build().unwrap();
    let cancel = CancellationToken::new();
    let (ran, ()) = tokio::join!(graph.run(Start::Beginning(start), &NoCheckpoints, cancel.clone()), async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        cancel.cancel();
    });
    ran
}

fn state_of(ran: Ran) -> Tally {
    match ran {
        Err(GraphError::Cancelled { state }) => state,
        other => panic!("not cancelled: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_keeps_what_was_said_and_still_runs_the_step_for_it() {
    let words = &["two", "fives", "seven77"];
    let ran = cancelled_after(4, flow(words).on_cancel(Stage::Sum), Tally::default()).await;
    let tally = state_of(ran);
    assert_eq!(tally.counted.len(), 3);
    assert!(tally.counted.contains(&("two", 3)), "ended before");
    assert!(!tally.counted.contains(&("fives", 5)), "cut short");
    assert_eq!(tally.sum, Some(tally.counted.iter().map(|(_, length)| length).sum()));
}

#[tokio::test(start_paused = true)]
async fn without_a_step_for_it_a_cancel_just_stops() {
    let tally = state_of(cancelled_after(1, flow(&["fives"]), Tally::default()).await);
    assert_eq!(tally.sum, None);
}

#[tokio::test(start_paused = true)]
async fn after_a_cancel_no_further_branch_begins() {
    let start = Tally { one_by_one: true, ..Tally::default() };
    let tally = state_of(cancelled_after(1, flow(&["fives", "two"]).on_cancel(Stage::Sum), start).await);
    assert_eq!(tally.counted.len(), 1);
    assert!(tally.sum.is_some());
}

#[tokio::test]
async fn a_run_cancelled_before_it_begins_runs_only_the_step_for_it() {
    let graph = flow(&["two"]).on_cancel(Stage::Sum).build().unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let ran = graph.run(Start::Beginning(Tally::default()), &NoCheckpoints, cancel).await;
    assert_eq!(state_of(ran), Tally { sum: Some(0), ..Tally::default() });
}

#[tokio::test]
async fn an_error_shows_nothing_of_the_state() {
    let secret = Tally { words: vec!["hush"], ..Tally::default() };
    let shown = format!("{:?}", GraphError::<Tally, Stage, Fault>::Cancelled { state: secret });
    assert_eq!(shown, "the run was cancelled");
}
