"""Redis, and what is smaller without it."""

from grafana import ORANGE, RED, YELLOW, busy, dashboard as page, graph, largest, number, of, quantile, rate, total

NAME = "state"


def dashboard():
    return page(
        "Redis and degraded mode", "Whether state is shared, and what exists in one replica only while it is not.",
        ("Now", [
            number("Redis", "Whether every replica reaches Redis.", "short", f'min({of("redis_up")})', (1, "green"), width=4,
                   words={0: "away", 1: "up"}),
            number("Degraded features", "Features that work in one process only, over all replicas.", "short",
                   total("feature_degraded"), (1, ORANGE), width=4),
            number("Unconfirmed messages", "Messages that exist in one replica only.", "short", total("memory_unconfirmed_messages"),
                   (1, YELLOW), (1000, RED), width=4),
            number("Oldest unwritten event", "Of a running turn: another replica could not go on from there.", "s",
                   largest("turnlog_unconfirmed_seconds"), (5, YELLOW), (30, RED), width=4),
            number("Lost", "Messages given up, ends of turns never written, and losses of data by Redis, within the time shown.", "short",
                   f'sum(increase({of("memory_unconfirmed_dropped_total")}[$__range])) + '
                   f'sum(increase({of("turnlog_lost_total")}[$__range])) + '
                   f'sum(increase({of("redis_data_lost_total")}[$__range]))', (0.5, RED), width=4, decimals=0),
            number("Replicas alive", "As the replicas see each other.", "short", largest("replicas_live"), width=4),
        ]),
        ("Redis", [
            graph("Up, by replica", "One replica alone that is at 0: its network. All of them: Redis.", "short",
                  (largest("redis_up", by="instance"), "{{instance}}"), most=1),
            graph("Degraded features", "1 while a feature works in one process only.", "short",
                  (largest("feature_degraded", by="feature, instance"), "{{feature}} {{instance}}"), most=1),
            graph("Connections", "By whether they can be used.", "short",
                  (total("redis_pool_connections", by="state"), "{{state}}"), stacked=True),
            graph("Commands", "By operation.", "cps",
                  (rate("redis_command_duration_seconds_count", by="operation"), "{{operation}}"), stacked=True),
            graph("Commands that failed", "slow: no answer in time; failed: not carried out. Empty is good.", "cps",
                  (busy(rate("redis_command_duration_seconds_count", 'outcome!="ok"', by="operation, outcome")), "{{operation}} {{outcome}}")),
            graph("How long commands take", "p99 by operation; the time-outs are 0.25 and 1 s.", "s",
                  (quantile(0.99, "redis_command_duration_seconds", by="operation"), "{{operation}}"), lines=[(0.25, RED)]),
            graph("Redis' breakers", "1 while Redis is not asked.", "short",
                  (largest("breaker_state", 'state="open"', 'breaker=~"redis.*"', by="breaker, instance"), "{{breaker}} {{instance}}"),
                  most=1),
            graph("Data lost by Redis", "How often Redis was found to have forgotten everything.", "short",
                  (f'sum by (instance) (increase({of("redis_data_lost_total")}[$__rate_interval]))', "{{instance}}")),
            graph("Replicas alive", "As each sees it: they should agree.", "short",
                  (largest("replicas_live", by="instance"), "{{instance}}")),
        ]),
        ("Conversations", [
            graph("Operations", "On conversations, by where they are kept.", "cps",
                  (busy(rate("memory_operations_total", by="backend, operation")), "{{backend}} {{operation}}"), stacked=True),
            graph("Operations that failed", "The conversation goes on without what was said before, or is not kept. Empty is good.", "cps",
                  (busy(rate("memory_operations_total", 'outcome="error"', by="backend, operation")), "{{backend}} {{operation}}")),
            graph("How long they take", "p99.", "s",
                  (quantile(0.99, "memory_operation_duration_seconds", by="backend, operation"), "{{backend}} {{operation}}")),
            graph("Kept here", "Conversations in the processes' own memory.", "short",
                  (total("memory_conversations", by="instance"), "{{instance}}")),
            graph("Unconfirmed messages", "Grows while Redis is away, falls to 0 when it is back.", "short",
                  (total("memory_unconfirmed_messages", by="instance"), "{{instance}}")),
            graph("Given up and in conflict", "Messages given up for want of room; turns answered twice, of which one version was dropped.",
                  "cps", (rate("memory_unconfirmed_dropped_total"), "given up"), (rate("memory_merge_conflicts_total"), "conflicts")),
        ]),
        ("Turn logs", [
            graph("Writes", "What writes to turn logs were answered.", "cps",
                  (rate("turnlog_appends_total", by="outcome"), "{{outcome}}"), stacked=True),
            graph("Oldest unwritten event", "By replica.", "s", (largest("turnlog_unconfirmed_seconds", by="instance"), "{{instance}}"),
                  lines=[(30, RED)]),
            graph("Read from elsewhere", "Turns owned by another replica that have readers here.", "short",
                  (total("turnlog_followed", by="instance"), "{{instance}}")),
            graph("Ends never written", "Because the log could not be reached until it was too late.", "cps",
                  (rate("turnlog_lost_total"), "lost"), width=8),
        ]),
    )
