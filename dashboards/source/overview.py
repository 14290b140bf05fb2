"""What is wrong, since when, and where to look: the page to open first."""

from grafana import ORANGE, RED, YELLOW, busy, dashboard as page, graph, number, of, quantile, quantiles, rate, total

NAME = "overview"
OPEN = 'state="open"'
OF_MODELS = 'breaker!~"redis.*"'
OURS = 'namespace=~"$namespace",job=~"$job"'
FAULTY = rate("http_requests_total", 'status=~"5.."')


def burn(slo, allowed):
    windows = ("5m", "1h", "6h", "3d")
    return [(f"max(polylogue:{slo}:ratio_rate{window}{{{OURS}}}) / {allowed}", window) for window in windows]


def dashboard():
    return page(
        "Overview", "Is it the model, Redis, a client or us; which replica; since when. Start here.",
        ("What is wrong", [
            number("Alerts", "Alerts of Polylogue that fire now. Each has a section in docs/runbooks.md.", "short",
                   'count(ALERTS{alertname=~"Polylogue.*",alertstate="firing"}) or vector(0)', (1, RED)),
            number("The model", "Upstreams whose breaker is open: the model fails. Look at *Personas and model*.", "short",
                   f'count({of("breaker_state", OPEN, OF_MODELS)} == 1) or vector(0)', (1, RED)),
            number("Redis", "Replicas that cannot reach Redis; none where there is no Redis. Look at *Redis and degraded mode*.",
                   "short", f'count({of("redis_up")} == 0) or vector(0)', (1, RED)),
            number("Clients refused", "Requests a second that a limit refuses: a client asks too much. Look at *Limits and breakers*.",
                   "cps", rate("rate_limit_decisions_total", 'decision="refused"'), (1, YELLOW), (10, ORANGE), decimals=2),
            number("Our errors", "Turns a second that were refused because a replica is full or state cannot be kept.", "cps",
                   rate("turns_rejected_total", 'reason=~"overloaded|state"'), (0.1, ORANGE), (1, RED), decimals=2),
            number("Replicas", "Replicas that answer Prometheus and say that they are ready.", "short",
                   f'sum({of("ready")})', width=3),
            number("Not ready", "Replicas that are up and neither ready nor stopping.", "short",
                   f'count({of("ready")} == 0 and {of("draining")} == 0) or vector(0)', (1, RED)),
            number("Simulator", "Replicas where no model is configured and the simulator answers.", "short",
                   total("simulator_in_use"), (1, YELLOW)),
        ]),
        ("Objectives", [
            graph("Availability: burn rate", "How fast the month's allowance of failed turns (0.5 %) is spent; 1 is just allowed, "
                  "14.4 wakes somebody.", "short", *burn("turn_errors", 0.005), lines=[(1, YELLOW), (14.4, RED)]),
            graph("First token: burn rate", "How fast the month's allowance of first tokens later than 2 s (5 %) is spent.",
                  "short", *burn("slow_first_tokens", 0.05), lines=[(1, YELLOW), (14.4, RED)]),
            graph("Time to first token", "From the request to the first piece of text, beside the model's own: what is between "
                  "them is ours.", "s",
                  (quantile(0.5, "turn_time_to_first_token_seconds"), "turn p50"),
                  (quantile(0.95, "turn_time_to_first_token_seconds"), "turn p95"),
                  (quantile(0.5, "llm_time_to_first_token_seconds"), "model p50"),
                  (quantile(0.95, "llm_time_to_first_token_seconds"), "model p95"), lines=[(2, RED)]),
        ]),
        ("Turns", [
            graph("Turns", "Turns that ended, by how.", "cps", (rate("turns_total", by="outcome"), "{{outcome}}"), stacked=True),
            graph("Duration of turns", "From the request to the end.", "s", *quantiles("turn_duration_seconds")),
            graph("Our own time per turn", "A turn's time without that in which a model call of it was awaited.", "s",
                  *quantiles("turn_overhead_seconds"), lines=[(0.005, YELLOW)]),
        ]),
        ("Requests", [
            graph("Requests by status", "Requests answered; 499 is a client that left first.", "reqps",
                  (busy(rate("http_requests_total", by="status")), "{{status}}"), stacked=True),
            graph("Server errors by route", "Answers of 5xx; empty is good.", "reqps",
                  (busy(rate("http_requests_total", 'status=~"5.."', by="route, status")), "{{status}} {{route}}")),
            graph("Duration of requests", "To the last byte, or to the headers of a stream or upgrade.", "s",
                  *quantiles("http_request_duration_seconds")),
            graph("By replica", "Requests a second: an even load, or one replica that stands out.", "reqps",
                  (rate("http_requests_total", by="instance"), "{{instance}}")),
            graph("In flight", "Requests and turns under way.", "short", (total("http_requests_in_flight"), "requests"),
                  (total("turns_in_flight"), "turns")),
            graph("Open", "Connections, streams and sockets open.", "short", (total("tcp_connections"), "TCP connections"),
                  (total("sse_streams"), "event streams"), (total("websocket_connections"), "sockets")),
        ]),
    )
