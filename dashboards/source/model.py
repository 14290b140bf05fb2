"""Who speaks, and how the model behind them does."""

from grafana import ORANGE, RED, YELLOW, busy, dashboard as page, graph, largest, mean, number, quantile, quantiles, rate, total

NAME = "model"
FALLBACK = 'source="fallback"'
FAILED = 'outcome!~"ok|cancelled"'


def dashboard():
    return page(
        "Personas and model", "Whether the model answers, how fast, for whom, and what it costs.",
        ("The model now", [
            number("Calls", "Requests to upstreams a second.", "cps", rate("llm_requests_total"), width=4, decimals=2),
            number("Failing", "Share of the requests to upstreams that fail.", "percentunit",
                   f'{rate("llm_requests_total", FAILED)} / {rate("llm_requests_total")}', (0.05, YELLOW), (0.25, RED),
                   width=4, decimals=1),
            number("First token p95", "Time to the first token of a request to an upstream.", "s",
                   quantile(0.95, "llm_time_to_first_token_seconds"), (2, YELLOW), (5, RED), width=4, decimals=2),
            number("Breakers open", "Upstreams that are not asked.", "short",
                   total("breaker_state", 'state="open"', 'breaker!~"redis.*"'), (1, RED), width=4),
            number("In flight", "Requests to upstreams that are running.", "short", total("llm_requests_in_flight"), width=4),
            number("Output", "Tokens a second, as the model counts them.", "short", rate("llm_tokens_total", 'type="output"'),
                   width=4, decimals=0),
        ]),
        ("Upstreams", [
            graph("Requests by upstream and outcome", "One per attempt. *open*: nobody was asked, every breaker is open.", "cps",
                  (busy(rate("llm_requests_total", by="upstream, outcome")), "{{upstream}} {{outcome}}"), stacked=True, width=12),
            graph("Why they were asked", "first, retry after a failure, repair of a useless answer, takeover from a dead replica.",
                  "cps", (rate("llm_requests_total", by="cause"), "{{cause}}"), stacked=True, width=6),
            graph("Retries", "Attempts after the first, by why the one before ended.", "cps",
                  (rate("llm_retries_total", by="reason"), "{{reason}}"), stacked=True, width=6),
            graph("Time to first token", "Of one request to an upstream.", "s",
                  (quantile(0.5, "llm_time_to_first_token_seconds", by="upstream"), "{{upstream}} p50"),
                  (quantile(0.95, "llm_time_to_first_token_seconds", by="upstream"), "{{upstream}} p95")),
            graph("Duration of requests", "To the last token.", "s",
                  (quantile(0.5, "llm_request_duration_seconds", by="upstream"), "{{upstream}} p50"),
                  (quantile(0.95, "llm_request_duration_seconds", by="upstream"), "{{upstream}} p95")),
            graph("Time between two pieces", "10 to 50 ms is normal.", "s",
                  (quantile(0.5, "llm_time_per_output_chunk_seconds", by="upstream"), "{{upstream}} p50"),
                  (quantile(0.99, "llm_time_per_output_chunk_seconds", by="upstream"), "{{upstream}} p99")),
            graph("Requests under way", "By upstream.", "short", (total("llm_requests_in_flight", by="upstream"), "{{upstream}}")),
            graph("Tokens", "As the model counts them.", "short",
                  (rate("llm_tokens_total", by="model, type"), "{{model}} {{type}}")),
            graph("Breakers", "1 while an upstream's breaker is open.", "short",
                  (largest("breaker_state", 'state="open"', by="breaker"), "{{breaker}}"), most=1),
        ]),
        ("Personas", [
            graph("Replies by persona", "Replies that ended.", "cps", (rate("replies_total", by="persona"), "{{persona}}"),
                  stacked=True),
            graph("Failed replies", "By persona: one persona that fails has a model or a prompt of its own.", "cps",
                  (rate("replies_total", 'outcome="failed"', by="persona"), "{{persona}}")),
            graph("Our own time per reply", "A reply's time without that in which its model call was awaited.", "s",
                  *quantiles("reply_overhead_seconds"), lines=[(0.005, YELLOW)]),
        ]),
        ("Routing", [
            graph("Decisions", "Which way it was decided who answers.", "cps",
                  (rate("routing_decisions_total", by="source"), "{{source}}"), stacked=True),
            graph("Falling back", "Share of decisions in which the model was of no use and the default persona answers.",
                  "percentunit", (f'{rate("routing_decisions_total", FALLBACK)} / {rate("routing_decisions_total")}',
                                  "fallback"), most=1, lines=[(0.2, ORANGE)]),
            graph("Duration", "Mean time of a decision; the cache takes µs, the model is cut at 1.5 s.", "s",
                  (mean("routing_duration_seconds", by="source"), "{{source}}")),
        ]),
    )
