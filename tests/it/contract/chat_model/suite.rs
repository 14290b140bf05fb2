//! The suite: each claim is tested on one upstream alone, and on the whole list of upstreams with one in it.

use polylogue::llm::AnswerSchema;
use polylogue::words::Usage;
use serde_json::{Value, json};

use super::wire::{Step, done, event, fault, finish, line, response, says, stream, stream_head, text, usage};
use super::*;

type Make = fn(SocketAddr, &Llm) -> Arc<dyn ChatModel>;

fn alone(address: SocketAddr, settings: &Llm) -> Arc<dyn ChatModel> {
    Arc::new(openai("first", address, settings))
}

fn guarded(address: SocketAddr, settings: &Llm) -> Arc<dyn ChatModel> {
    upstreams(&[address], settings, &Arc::new(Metrics::new()))
}

macro_rules! every_model {
    ($(async fn $claim:ident($make:ident: Make) $body:block)*) => {
        $(async fn $claim($make: Make) $body)*
        mod one_upstream {
            $(#[tokio::test] async fn $claim() { super::$claim(super::alone).await; })*
        }
        mod a_list_of_upstreams {
            $(#[tokio::test] async fn $claim() { super::$claim(super::guarded).await; })*
        }
    };
}

/// What comes of an answer that consists of these steps.
async fn answer_to(make: Make, steps: Vec<Step>) -> (Vec<String>, Result<Ending, LlmError>) {
    let upstream = wire::Upstream::that(steps).await;
    match make(upstream.address, &settings()).stream(request()).await {
        Ok(stream) => read(stream).await,
        Err(error) => (Vec::new(), Err(error)),
    }
}

fn hurried() -> Llm {
    let mut hurried = settings();
    hurried.first_token_timeout = Span(Duration::from_millis(80));
    hurried.token_gap_timeout = Span(Duration::from_millis(80));
    hurried.timeout = Span(Duration::from_millis(80));
    hurried
}

every_model! {
    async fn an_answer_comes_in_pieces_with_its_end_and_its_cost(make: Make) {
        let steps = stream([line(": thinking"), text(""), text("Hel"), text("lo."), finish("stop"), usage(12, 2)]);
        let (pieces, ending) = answer_to(make, steps).await;
        assert_eq!(pieces, ["Hel", "lo."]);
        let cost = Usage { input_tokens: Some(12), output_tokens: Some(2), total_tokens: Some(14) };
        assert_eq!(ending.unwrap(), Ending {
            finish_reason: "stop".into(),
            model: Some("m-2026".into()),
            response_id: Some("chatcmpl-1".into()),
            usage: Some(cost),
        });
    }

    async fn the_upstream_is_asked_in_its_own_protocol(make: Make) {
        let upstream = wire::Upstream::that(says("Hi.")).await;
        whole_text(&*make(upstream.address, &settings())).await;

        let asked = upstream.asked().remove(0);
        assert!(asked.head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{}", asked.head);
        for header in ["x-request-id: req-7\r\n", "authorization: bearer sk-test\r\n", "user-agent: polylogue/"] {
            assert!(asked.head.contains(header), "{header} in {}", asked.head);
        }
        assert!(!asked.head.contains("openai-"));
        let roles: Vec<&Value> = asked.body["messages"].as_array().unwrap().iter().map(|m| &m["role"]).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert_eq!(asked.body["messages"][3]["content"], "Who are you?");
        assert_eq!(asked.body["model"], "m");
        assert_eq!(asked.body["stream"], true);
        assert_eq!(asked.body["stream_options"], json!({"include_usage": true}));
        assert_eq!((&asked.body["temperature"], &asked.body["max_tokens"]), (&json!(0.7), &json!(64)));
        assert_eq!(asked.body.get("response_format"), None);
    }

    async fn a_stream_that_ends_without_a_finish_reason_is_cut_off(make: Make) {
        let without_reason = stream([text("Hel"), text("lo.")]);
        let clean_end = vec![stream_head(), text("Hel"), text("lo."), Step::Send("0\r\n\r\n".into())];
        for steps in [without_reason, clean_end] {
            let (pieces, ending) = answer_to(make, steps).await;
            assert_eq!(pieces, ["Hel", "lo."]);
            assert!(matches!(ending, Err(LlmError::Cut)), "{ending:?}");
        }
        let (_, nothing_at_all) = answer_to(make, stream([])).await;
        assert!(matches!(nothing_at_all, Err(LlmError::Cut)), "{nothing_at_all:?}");
    }

    async fn a_connection_that_breaks_within_a_chunk_is_broken(make: Make) {
        let half = Step::Send("40\r\ndata: {\"choices\":[{\"delta\":{\"con".into());
        let (pieces, ending) = answer_to(make, vec![stream_head(), text("Hel"), half, Step::HangUp]).await;
        assert_eq!(pieces, ["Hel"]);
        assert!(matches!(ending, Err(LlmError::Broken(_))), "{ending:?}");
    }

    async fn nobody_there_is_broken(make: Make) {
        let error = refusal(&*make(wire::Upstream::nobody().await, &settings())).await;
        assert!(matches!(error, LlmError::Broken(_)), "{error:?}");
    }

    async fn a_429_is_throttled_with_its_wait_whatever_its_body_looks_like(make: Make) {
        for body in [r#"{"error":{"message":"slow down","code":429}}"#, "slow down", ""] {
            let upstream = response("429 Too Many Requests", "retry-after: 7\r\n", body);
            let (_, error) = answer_to(make, upstream).await;
            let wait = Some(Duration::from_secs(7));
            assert!(matches!(error, Err(LlmError::Throttled { retry_after }) if retry_after == wait), "{error:?}");
        }
    }

    async fn an_error_whose_body_never_comes_is_known_by_its_status(make: Make) {
        let head = Step::Send("HTTP/1.1 404 Not Found\r\ncontent-length: 99\r\n\r\n{".into());
        let (_, error) = answer_to(make, vec![head, Step::Stall]).await;
        assert!(matches!(error, Err(LlmError::Refused { status: 404 })), "{error:?}");
    }

    async fn other_statuses_are_failed_or_refused(make: Make) {
        let (_, error) = answer_to(make, fault()).await;
        assert!(matches!(error, Err(LlmError::Failed { status: 500, retry_after: None })), "{error:?}");
        for (status, text) in [(400, "Bad Request"), (401, "Unauthorized"), (404, "Not Found"), (307, "Elsewhere")] {
            let elsewhere = "location: http://127.0.0.1:1/v1/chat/completions\r\n";
            let (_, error) = answer_to(make, response(&format!("{status} {text}"), elsewhere, "{}")).await;
            assert!(matches!(error, Err(LlmError::Refused { status: said }) if said == status), "{error:?}");
        }
    }

    async fn silence_before_the_first_token_is_slow(make: Make) {
        let role = event(&json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]}));
        for steps in [vec![Step::Stall], vec![stream_head(), Step::Stall], vec![stream_head(), role, Step::Stall]] {
            let upstream = wire::Upstream::that(steps).await;
            let error = refusal(&*make(upstream.address, &hurried())).await;
            assert!(matches!(error, LlmError::Slow(_)), "{error:?}");
            upstream.until_hung_up(1).await;
        }
    }

    async fn silence_between_two_tokens_is_slow(make: Make) {
        let upstream = wire::Upstream::that(vec![stream_head(), text("Hel"), Step::Stall]).await;
        let stream = make(upstream.address, &hurried()).stream(request()).await.unwrap();
        let (pieces, ending) = read(stream).await;
        assert_eq!(pieces, ["Hel"]);
        assert!(matches!(ending, Err(LlmError::Slow(_))), "{ending:?}");
        upstream.until_hung_up(1).await;
    }

    async fn nobody_waits_beyond_the_deadline(make: Make) {
        let upstream = wire::Upstream::that(vec![stream_head(), text("Hel"), Step::Stall]).await;
        let mut hasty = request();
        hasty.deadline = Instant::now() + Duration::from_secs(1);
        let stream = make(upstream.address, &settings()).stream(hasty).await.unwrap();
        assert!(matches!(read(stream).await.1, Err(LlmError::Slow(_))));
    }

    async fn a_line_that_is_not_json_spoils_the_answer(make: Make) {
        for garbage in ["data: {\"choices\": [", "data: <html>", "data: \u{0}"] {
            let (pieces, ending) = answer_to(make, stream([text("Hel"), line(garbage), finish("stop")])).await;
            assert_eq!(pieces, ["Hel"]);
            assert!(matches!(ending, Err(LlmError::Garbled(_))), "{ending:?}");
        }
    }

    async fn an_error_within_the_stream_is_an_error(make: Make) {
        let overloaded = event(&json!({"error": {"message": "overloaded", "code": 503}}));
        let (_, before) = answer_to(make, stream([overloaded.clone()])).await;
        assert!(matches!(before, Err(LlmError::Failed { status: 503, .. })), "{before:?}");
        let (pieces, after) = answer_to(make, stream([text("Hel"), overloaded])).await;
        assert_eq!(pieces, ["Hel"]);
        assert!(matches!(after, Err(LlmError::Failed { status: 503, .. })), "{after:?}");
    }

    async fn what_providers_add_leave_out_or_rename_does_no_harm(make: Make) {
        let odd = |delta: Value, reason: Value| event(&json!({
            "created": 1.5, "service_tier": "weird", "provider": {"x": 1},
            "choices": [{"delta": delta, "finish_reason": reason, "native_finish_reason": 7}],
        }));
        let steps = stream([
            odd(json!({"reasoning_content": "Hm."}), Value::Null),
            odd(json!({"content": "Hi."}), json!("eos_token")),
        ]);
        let (pieces, ending) = answer_to(make, steps).await;
        assert_eq!(pieces, ["Hi."]);
        assert_eq!(ending.unwrap(), Ending { finish_reason: "eos_token".into(), ..Ending::default() });
    }

    async fn a_stream_that_dies_after_its_finish_reason_is_whole_but_for_its_cost(make: Make) {
        let died = vec![stream_head(), text("Hi."), finish("stop"), Step::HangUp];
        let (pieces, ending) = answer_to(make, died).await;
        assert_eq!(pieces, ["Hi."]);
        assert_eq!(ending.unwrap().usage, None);

        let hangs = vec![stream_head(), text("Hi."), finish("length"), Step::Stall];
        let upstream = wire::Upstream::that(hangs).await;
        let stream = make(upstream.address, &hurried()).stream(request()).await.unwrap();
        assert_eq!(read(stream).await.1.unwrap().finish_reason, "length");
    }

    async fn more_text_than_an_answer_may_have_is_not_read(make: Make) {
        let half_a_mebibyte = "x".repeat(1 << 19);
        let (pieces, ending) = answer_to(make, stream((0..9).map(|_| text(&half_a_mebibyte)))).await;
        assert_eq!(pieces.len(), 8);
        assert!(matches!(ending, Err(LlmError::Garbled(_))), "{ending:?}");
    }

    async fn a_line_without_an_end_is_not_read(make: Make) {
        let some = Step::Send(format!("10000\r\n{}\r\n", "x".repeat(0x10000)));
        let endless = [stream_head(), text("Hel")].into_iter().chain(std::iter::repeat_n(some, 20)).collect();
        let (pieces, ending) = answer_to(make, endless).await;
        assert_eq!(pieces, ["Hel"]);
        assert!(matches!(ending, Err(LlmError::Broken(_))), "{ending:?}");
    }

    async fn a_dropped_stream_ends_the_upstream_request(make: Make) {
        let upstream = wire::Upstream::that(vec![stream_head(), text("Hel"), Step::Stall]).await;
        let mut stream = make(upstream.address, &settings()).stream(request()).await.unwrap();
        assert!(matches!(stream.next().await, Some(Ok(Chunk::Text(_)))));
        drop(stream);
        upstream.until_hung_up(1).await;
    }

    async fn a_dropped_question_ends_the_upstream_request(make: Make) {
        let upstream = wire::Upstream::that(vec![Step::Stall]).await;
        let model = make(upstream.address, &settings());
        tokio::select! {
            _ = model.stream(request()) => panic!("nobody answered"),
            () = upstream.until_asked(1) => {}
        }
        upstream.until_hung_up(1).await;
    }

    async fn a_hundred_questions_at_once_share_a_pool_that_the_next_hundred_use_again(make: Make) {
        let upstream = wire::Upstream::answering(|number| {
            let together = Step::UntilAsked(if number <= 100 { 100 } else { 200 });
            let [last_line, end] = done();
            vec![together, stream_head(), text("Hi."), finish("stop"), usage(1, 1), last_line, end]
        })
        .await;
        let model = make(upstream.address, &settings());
        for _wave in 0..2 {
            let questions = (0..100).map(|_| whole_text(&*model));
            let answers = futures_util::future::join_all(questions).await;
            assert!(answers.iter().all(|answer| answer == "Hi."));
            assert_eq!(upstream.accepted(), 100);
        }
    }

    async fn a_whole_answer_follows_the_schema_it_was_given(make: Make) {
        let message = json!({"role": "assistant", "content": "{\"a\":1}"});
        let whole = json!({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}});
        let upstream = wire::Upstream::that(response("200 OK", "", &whole.to_string())).await;
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let mut question = request();
        question.schema = Some(AnswerSchema { name: "choice", schema: schema.clone() });
        question.model = Some("router".into());

        let answer = make(upstream.address, &settings()).complete(question).await.unwrap();

        assert_eq!((answer.text.as_str(), answer.ending.finish_reason.as_str()), ("{\"a\":1}", "stop"));
        let cost = Usage { input_tokens: Some(3), output_tokens: None, total_tokens: None };
        assert_eq!(answer.ending.usage, Some(cost));
        let asked = upstream.asked().remove(0).body;
        assert_eq!((&asked["model"], &asked["stream"]), (&json!("router"), &json!(false)));
        let format = json!({"name": "choice", "strict": true, "schema": schema});
        assert_eq!(asked["response_format"], json!({"type": "json_schema", "json_schema": format}));
    }

    async fn a_whole_answer_fails_as_a_streamed_one_does(make: Make) {
        let complete = async |steps: Vec<Step>| {
            let upstream = wire::Upstream::that(steps).await;
            make(upstream.address, &hurried()).complete(request()).await.err().unwrap()
        };
        let unfinished = r#"{"choices":[{"message":{"content":"Hi."}}]}"#;
        assert!(matches!(complete(response("200 OK", "", unfinished)).await, LlmError::Cut));
        assert!(matches!(complete(response("200 OK", "", "<html>")).await, LlmError::Garbled(_)));
        assert!(matches!(complete(response("200 OK", "", r#"{"error":{"code":429}}"#)).await,
            LlmError::Throttled { .. }));
        assert!(matches!(complete(fault()).await, LlmError::Failed { status: 500, .. }));
        assert!(matches!(complete(vec![Step::Stall]).await, LlmError::Slow(_)));
    }
}
