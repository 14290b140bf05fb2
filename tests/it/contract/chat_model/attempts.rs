//! Attempts, breakers and several upstreams.

use polylogue::telemetry::metrics::{BreakerState, ModelOutcome, Name, TokenType};

use super::wire::{Step, fault, finish, response, says, stream, stream_head, text, usage};
use super::*;

fn breaking(failures: u32, recovery: Duration) -> Llm {
    let mut llm = settings();
    llm.breaker.failures = failures.try_into().unwrap();
    llm.breaker.recovery = Span(recovery);
    llm
}

fn throttle(headers: &str) -> Vec<Step> {
    response("429 Too Many Requests", headers, "{}")
}

struct Guarded {
    model: Arc<Upstreams>,
    metrics: Arc<Metrics>,
}

impl Guarded {
    fn over(addresses: &[SocketAddr], settings: &Llm) -> Self {
        let metrics = Arc::new(Metrics::new());
        Self { model: upstreams(addresses, settings, &metrics), metrics }
    }

    fn state(&self) -> BreakerState {
        self.model.snapshot()[0].state
    }

    fn requests(&self, outcome: ModelOutcome, cause: ModelCause) -> u64 {
        let (upstream, model) = (Name::from("first"), Name::from("m"));
        self.metrics.model.requests.get(&(upstream, model, outcome, cause))
    }

    async fn fails(&self, times: usize) {
        for _ in 0..times {
            refusal(&*self.model).await;
        }
    }
}

#[tokio::test]
async fn a_question_is_asked_three_times_in_all() {
    let upstream =
        wire::Upstream::answering(|number| if number < 3 { fault() } else { says("At last.") }).await;
    let guarded = Guarded::over(&[upstream.address], &with_attempts(3));

    assert_eq!(whole_text(&*guarded.model).await, "At last.");

    assert_eq!(upstream.times_asked(), 3);
    assert_eq!(guarded.requests(ModelOutcome::Broken, ModelCause::First), 1);
    assert_eq!(guarded.requests(ModelOutcome::Broken, ModelCause::Retry), 1);
    assert_eq!(guarded.requests(ModelOutcome::Ok, ModelCause::Retry), 1);
    assert_eq!(guarded.metrics.model.retries.get(&(ModelOutcome::Broken,)), 2);
}

#[tokio::test]
async fn a_question_is_not_asked_a_fourth_time() {
    let upstream = wire::Upstream::that(fault()).await;
    let guarded = Guarded::over(&[upstream.address], &with_attempts(3));
    assert!(matches!(refusal(&*guarded.model).await, LlmError::Failed { status: 500, .. }));
    assert_eq!(upstream.times_asked(), 3);
}

#[tokio::test]
async fn what_was_refused_is_not_asked_again() {
    let upstream = wire::Upstream::that(response("401 Unauthorized", "", "{}")).await;
    let guarded = Guarded::over(&[upstream.address], &with_attempts(3));
    assert!(matches!(refusal(&*guarded.model).await, LlmError::Refused { status: 401 }));
    assert_eq!(upstream.times_asked(), 1);
}

#[tokio::test]
async fn after_the_first_token_nothing_is_asked_again() {
    let upstream = wire::Upstream::that(vec![stream_head(), text("Hel"), Step::HangUp]).await;
    let guarded = Guarded::over(&[upstream.address], &with_attempts(3));
    let (pieces, ending) = read(guarded.model.stream(request()).await.unwrap()).await;
    assert_eq!(pieces, ["Hel"]);
    assert!(matches!(ending, Err(LlmError::Broken(_))));
    assert_eq!(upstream.times_asked(), 1);
}

#[tokio::test]
async fn an_upstream_is_left_alone_for_as_long_as_it_asks() {
    let upstream = wire::Upstream::answering(|number| {
        if number == 1 { throttle("retry-after-ms: 150\r\n") } else { says("Now.") }
    })
    .await;
    let guarded = Guarded::over(&[upstream.address], &with_attempts(3));

    assert_eq!(whole_text(&*guarded.model).await, "Now.");

    let asked = upstream.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_millis(150));
    assert_eq!(guarded.metrics.model.retries.get(&(ModelOutcome::Throttled,)), 1);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_handed_on_instead() {
    for settings in [with_attempts(3), {
        let mut patient = with_attempts(3);
        patient.retry.max_wait = Span(Duration::from_secs(7200));
        patient
    }] {
        let upstream = wire::Upstream::that(throttle("retry-after: 3600\r\n")).await;
        let guarded = Guarded::over(&[upstream.address], &settings);
        let failure = refusal(&*guarded.model).await.failure();
        assert_eq!((failure.code.status(), failure.code.as_str()), (503, "model_unavailable"));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3600)));
        assert_eq!(upstream.times_asked(), 1);
    }
}

#[tokio::test]
async fn five_faults_in_a_row_stop_the_asking() {
    let upstream = wire::Upstream::that(fault()).await;
    let guarded = Guarded::over(&[upstream.address], &settings());
    guarded.fails(5).await;

    let error = refusal(&*guarded.model).await;

    assert!(matches!(error, LlmError::Open { retry_after } if retry_after > Duration::from_secs(58)));
    assert_eq!(upstream.times_asked(), 5);
    assert_eq!(guarded.requests(ModelOutcome::Open, ModelCause::First), 1);
    let failure = error.failure();
    assert_eq!((failure.code.as_str(), failure.retry_after), ("model_unavailable", error.retry_after()));
}

#[tokio::test]
async fn every_attempt_counts_and_none_is_made_at_a_circuit_that_opened_meanwhile() {
    let upstream = wire::Upstream::that(fault()).await;
    let guarded = Guarded::over(&[upstream.address], &with_attempts(3));
    guarded.fails(2).await;
    assert_eq!(upstream.times_asked(), 5);
    assert_eq!(guarded.state(), BreakerState::Open);
}

#[tokio::test]
async fn after_the_wait_one_of_many_probes_and_its_answer_lets_all_through() {
    let recovery = Duration::from_millis(150);
    let upstream =
        wire::Upstream::answering(|number| if number <= 2 { fault() } else { says("Back.") }).await;
    let guarded = Guarded::over(&[upstream.address], &breaking(2, recovery));
    guarded.fails(2).await;
    tokio::time::sleep(recovery).await;

    let asking = (0..50).map(|_| guarded.model.stream(request()));
    let mut answered: Vec<ChunkStream> =
        futures_util::future::join_all(asking).await.into_iter().flatten().collect();
    assert_eq!(answered.len(), 1);
    assert_eq!(upstream.times_asked(), 3);
    assert_eq!(guarded.state(), BreakerState::HalfOpen);

    read(answered.remove(0)).await.1.unwrap();
    assert_eq!(guarded.state(), BreakerState::Closed);
    assert_eq!(whole_text(&*guarded.model).await, "Back.");
}

#[tokio::test]
async fn a_probe_that_nobody_reads_on_gives_its_place_to_the_next() {
    let recovery = Duration::from_millis(50);
    let upstream =
        wire::Upstream::answering(|number| if number == 1 { fault() } else { says("Back.") }).await;
    let guarded = Guarded::over(&[upstream.address], &breaking(1, recovery));
    guarded.fails(1).await;
    tokio::time::sleep(recovery).await;

    drop(guarded.model.stream(request()).await.unwrap());
    assert_eq!(guarded.state(), BreakerState::HalfOpen);
    assert_eq!(whole_text(&*guarded.model).await, "Back.");
    assert_eq!(guarded.state(), BreakerState::Closed);
}

#[tokio::test]
async fn neither_refusals_nor_throttling_nor_our_own_leaving_open_a_circuit() {
    let upstream = wire::Upstream::answering(|number| match number % 3 {
        0 => response("400 Bad Request", "", "{}"),
        1 => throttle(""),
        _ => vec![stream_head(), text("Hel"), Step::Stall],
    })
    .await;
    let guarded = Guarded::over(&[upstream.address], &breaking(1, Duration::from_secs(60)));
    for _ in 0..12 {
        drop(guarded.model.stream(request()).await);
    }
    assert_eq!(upstream.times_asked(), 12);
    assert_eq!(guarded.requests(ModelOutcome::Cancelled, ModelCause::First), 4);
    assert_eq!(guarded.metrics.model.in_flight.get(&(Name::from("first"),)), 0);
    assert_eq!(guarded.state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_deadline_of_ours_is_no_fault_of_the_upstream() {
    let upstream = wire::Upstream::that(vec![Step::Stall]).await;
    let guarded = Guarded::over(&[upstream.address], &breaking(1, Duration::from_secs(60)));
    let mut hasty = request();
    hasty.deadline = Instant::now() + Duration::from_millis(50);
    let error = guarded.model.complete(hasty).await.err().unwrap();
    assert_eq!(error.failure().code.as_str(), "model_timeout");
    assert_eq!(guarded.state(), BreakerState::Closed);
}

#[tokio::test]
async fn streams_that_break_count_at_their_end_and_one_that_is_whole_starts_the_count_again() {
    let upstream = wire::Upstream::answering(|number| match number {
        3 => says("Whole."),
        _ => vec![stream_head(), text("Hel"), Step::HangUp],
    })
    .await;
    let guarded = Guarded::over(&[upstream.address], &breaking(3, Duration::from_secs(60)));
    for (broken_in_a_row, number) in [1, 2, 0, 1, 2].into_iter().zip(1..) {
        let (_, ending) = read(guarded.model.stream(request()).await.unwrap()).await;
        assert_eq!(ending.is_ok(), number == 3);
        assert_eq!(guarded.model.snapshot()[0].consecutive_failures, broken_in_a_row);
    }
    let last = guarded.model.stream(request()).await.unwrap();
    assert_eq!(guarded.state(), BreakerState::Closed);
    read(last).await.1.unwrap_err();
    assert_eq!(guarded.state(), BreakerState::Open);
}

#[tokio::test]
async fn the_next_upstream_is_asked_at_once_and_an_open_one_passed_over() {
    let (first, second) = (wire::Upstream::that(fault()).await, wire::Upstream::that(says("Second.")).await);
    let mut settings = with_attempts(2);
    settings.retry.wait = Span(Duration::from_secs(10));
    let guarded = Guarded::over(&[first.address, second.address], &settings);
    let began = Instant::now();

    for _ in 0..8 {
        assert_eq!(whole_text(&*guarded.model).await, "Second.");
    }

    assert_eq!((first.times_asked(), second.times_asked()), (5, 8));
    assert!(began.elapsed() < Duration::from_secs(5));
    let states: Vec<BreakerState> = guarded.model.snapshot().iter().map(|breaker| breaker.state).collect();
    assert_eq!(states, [BreakerState::Open, BreakerState::Closed]);
}

#[tokio::test]
async fn a_second_round_leaves_out_who_still_wants_to_be_left_alone() {
    let first = wire::Upstream::that(throttle("retry-after: 60\r\n")).await;
    let second =
        wire::Upstream::answering(|number| if number == 1 { fault() } else { says("Second.") }).await;
    let guarded = Guarded::over(&[first.address, second.address], &with_attempts(3));
    assert_eq!(whole_text(&*guarded.model).await, "Second.");
    assert_eq!((first.times_asked(), second.times_asked()), (1, 2));
}

#[tokio::test]
async fn answers_are_counted_by_model_and_an_unknown_model_is_other() {
    let upstream = wire::Upstream::that(stream([text("Hi."), finish("stop"), usage(12, 2)])).await;
    let guarded = Guarded::over(&[upstream.address], &settings());
    for model in ["persona-model", "made-up-by-a-caller"] {
        let named = ModelRequest { model: Some(model.into()), ..request() };
        read(guarded.model.stream(named).await.unwrap()).await.1.unwrap();
    }
    let tokens = |model: &str, of| guarded.metrics.model.tokens.get(&(Name::from(model), of));
    assert_eq!(
        (tokens("persona-model", TokenType::Input), tokens("persona-model", TokenType::Output)),
        (12, 2)
    );
    assert_eq!(tokens("other", TokenType::Input), 12);
    assert!(!guarded.metrics.render().contains("made-up"));
    assert_eq!(upstream.asked()[1].body["model"], "made-up-by-a-caller");
}
