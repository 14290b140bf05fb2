"""Sockets, streams and the turns behind them."""

from grafana import RED, YELLOW, busy, dashboard as page, graph, number, of, quantile, quantiles, rate, total

NAME = "sockets"


def dashboard():
    return page(
        "WebSocket and turns", "Who is connected, why connections end, and how turns go on without them.",
        ("Sockets", [
            number("Open", "Sockets open now.", "short", total("websocket_connections"), width=4),
            number("Fullest replica", "Share of the sockets a replica may hold.", "percentunit",
                   f'max({of("websocket_connections")} / {of("websocket_connections_limit")})', (0.7, YELLOW), (0.85, RED), width=4,
                   decimals=0),
            number("Opened", "Sockets opened a second.", "cps", rate("websocket_connections_opened_total"), width=4, decimals=2),
            number("Refused", "Upgrades refused a second.", "cps", rate("websocket_connections_rejected_total"), (1, YELLOW),
                   width=4, decimals=2),
            number("Gone silent", "Sockets a second that stopped answering pings.", "cps",
                   rate("websocket_connections_closed_total", 'reason="heartbeat_timeout"'), (0.1, YELLOW), (1, RED), width=4,
                   decimals=2),
            number("Frames", "Frames a second, both ways.", "short", rate("websocket_messages_total"), width=4, decimals=0),
            graph("Open by replica", "Sockets open, and how many one replica takes.", "short",
                  (total("websocket_connections", by="instance"), "{{instance}}"),
                  (f'min({of("websocket_connections_limit")})', "limit")),
            graph("Closed, by reason", "Close codes by name; client_gone sent none.", "cps",
                  (busy(rate("websocket_connections_closed_total", by="reason")), "{{reason}}"), stacked=True),
            graph("Refused, by reason", "per_client: the caller has too many; total: the replica is full.", "cps",
                  (rate("websocket_connections_rejected_total", by="reason"), "{{reason}}"), stacked=True),
            graph("Frames in", "What clients send.", "short",
                  (rate("websocket_messages_total", 'direction="in"', by="type"), "{{type}}"), stacked=True),
            graph("Frames out", "What they get.", "short",
                  (rate("websocket_messages_total", 'direction="out"', by="type"), "{{type}}"), stacked=True),
            graph("How long they lived", "A cliff at one length is a proxy that cuts.", "s",
                  *quantiles("websocket_connection_duration_seconds")),
            graph("Leases", "Places held, by kind; all replicas together.", "short", (total("leases", by="kind"), "{{kind}}")),
            graph("Leases that ran out", "Nobody renewed them: a crash, or a ticket that was not used.", "cps",
                  (rate("leases_expired_total", by="kind"), "{{kind}}")),
            graph("TCP connections", "Accepted, and closed by reason.", "cps",
                  (rate("tcp_connections_accepted_total"), "accepted"),
                  (rate("tcp_connections_closed_total", by="reason"), "closed: {{reason}}")),
        ]),
        ("Event streams", [
            graph("Open", "Event streams open.", "short", (total("sse_streams", by="instance"), "{{instance}}")),
            graph("Opened, closed and why", "Closed by reason, opened above.", "cps",
                  (rate("sse_streams_closed_total", by="reason"), "closed: {{reason}}"),
                  (rate("sse_streams_opened_total"), "opened")),
            graph("How long they lived", "60 s is a proxy cutting.", "s", *quantiles("sse_stream_duration_seconds")),
            graph("Resumed", "Requests to go on after an event. A surge: clients lose connections.", "cps",
                  (rate("sse_resumes_total", by="outcome"), "{{outcome}}"), stacked=True),
        ]),
        ("Turns", [
            graph("In flight by replica", "Turns that a replica runs now.", "short", (total("turns_in_flight", by="instance"), "{{instance}}")),
            graph("Not begun", "Turns refused, by reason; *overloaded* and *state* are ours.", "cps",
                  (rate("turns_rejected_total", by="reason"), "{{reason}}"), stacked=True),
            graph("First text by door", "p95 of the time to the first piece of text.", "s",
                  (quantile(0.95, "turn_time_to_first_token_seconds", by="transport"), "{{transport}}"), lines=[(2, RED)]),
            graph("Taken over", "Turns that changed their owner: died (a crash) or handed_over (a stop).", "cps",
                  (rate("turn_takeovers_total", by="reason"), "{{reason}}")),
            graph("Repetitions", "What idempotency keys and refs did.", "cps",
                  (rate("idempotency_requests_total", by="outcome"), "{{outcome}}"), stacked=True),
        ]),
    )
