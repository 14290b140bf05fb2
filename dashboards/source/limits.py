"""Who is refused, by what, and which breakers are open."""

from grafana import ORANGE, RED, YELLOW, busy, dashboard as page, graph, largest, number, of, quantile, rate

NAME = "limits"
REFUSED = 'decision="refused"'
WRONG = 'outcome!~"ok|missing"'


def dashboard():
    return page(
        "Limits and breakers", "Refusals by policy, wrong credentials, and circuits. `/status` lists the most limited callers.",
        ("Limits", [
            number("Decisions", "Decisions of policies a second.", "cps", rate("rate_limit_decisions_total"), width=4, decimals=2),
            number("Refused", "Share of the decisions that refuse.", "percentunit",
                   f'{rate("rate_limit_decisions_total", REFUSED)} / {rate("rate_limit_decisions_total")}', (0.05, YELLOW),
                   (0.2, ORANGE), width=4, decimals=1),
            number("Decided in a fallback", "Decisions a second made from the local share, because Redis cannot be asked.", "cps",
                   rate("rate_limit_decisions_total", 'backend="fallback"'), (0.01, ORANGE), width=4, decimals=2),
            number("Decision p99", "How long a decision takes; the ceiling is 50 ms.", "s",
                   quantile(0.99, "rate_limit_decision_duration_seconds"), (0.01, YELLOW), (0.05, RED), width=4),
            number("Wrong credentials", "A second.", "cps", rate("auth_attempts_total", WRONG), (1, YELLOW), (10, RED), width=4,
                   decimals=2),
            number("Strange forwarding headers", "A second, from peers that are not trusted proxies: server.trusted_proxies may be wrong.",
                   "cps", rate("forwarded_headers_ignored_total"), (0.1, YELLOW), width=4, decimals=2),
            graph("Refused by policy", "Decisions that refuse.", "cps",
                  (rate("rate_limit_decisions_total", REFUSED, by="policy"), "{{policy}}"), stacked=True),
            graph("Allowed by policy", "Decisions that let through.", "cps",
                  (rate("rate_limit_decisions_total", 'decision="allowed"', by="policy"), "{{policy}}"), stacked=True),
            graph("Where they are decided", "redis for all replicas, local or fallback for one.", "cps",
                  (rate("rate_limit_decisions_total", by="backend"), "{{backend}}"), stacked=True),
            graph("How long a decision takes", "By where it is made.", "s",
                  (quantile(0.5, "rate_limit_decision_duration_seconds", by="backend"), "{{backend}} p50"),
                  (quantile(0.99, "rate_limit_decision_duration_seconds", by="backend"), "{{backend}} p99"), lines=[(0.05, RED)]),
            graph("Who the caller is told by", "connection: the peer's address; header: a trusted proxy.", "cps",
                  (rate("rate_limit_decisions_total", by="identified_by"), "{{identified_by}}"), stacked=True),
            graph("Refused sockets and turns", "Bounds that are not rate limits.", "cps",
                  (rate("websocket_connections_rejected_total", by="reason"), "socket: {{reason}}"),
                  (rate("turns_rejected_total", by="reason"), "turn: {{reason}}")),
        ]),
        ("Credentials", [
            graph("Checked", "Credentials checked, by kind.", "cps",
                  (rate("auth_attempts_total", 'outcome="ok"', by="method"), "{{method}}"), stacked=True, width=12),
            graph("Refused", "Credentials that were wrong, by why; missing is no attempt. Empty is good.", "cps",
                  (busy(rate("auth_attempts_total", WRONG, by="method, outcome")), "{{method}} {{outcome}}"), stacked=True, width=12),
        ]),
        ("Breakers", [
            graph("Open", "1 while a breaker is open: nobody is asked.", "short",
                  (largest("breaker_state", 'state="open"', by="breaker, instance"), "{{breaker}} {{instance}}"), most=1),
            graph("Transitions", "To open, half_open (one probe) and closed; empty is good.", "cps",
                  (busy(rate("breaker_transitions_total", by="breaker, to")), "{{breaker}} {{to}}")),
            graph("Faults in a row", "A breaker opens at its limit.", "short",
                  (largest("breaker_consecutive_failures", by="breaker"), "{{breaker}}")),
            graph("Calls through breakers", "What they saw: rejected calls were not made.", "cps",
                  (busy(rate("breaker_calls_total", by="breaker, outcome")), "{{breaker}} {{outcome}}"), width=24),
        ]),
    )
