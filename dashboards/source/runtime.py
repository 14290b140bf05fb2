"""The processes themselves."""

from grafana import ORANGE, RED, YELLOW, dashboard as page, graph, largest, number, of, rate, total

NAME = "runtime"
WRONG = 'outcome="error"'


def dashboard():
    return page(
        "Runtime", "Memory, CPU and tasks of the replicas, reloads, and what telemetry itself lost.",
        ("Replicas", [
            number("Versions", "More than one during a rolling update.", "short",
                   f'count(count by (version, revision) ({of("build_info")}))', (2, YELLOW), width=4),
            number("Youngest", "How long the youngest replica has been up.", "s",
                   f'time() - max({of("process_start_time_seconds")} and on (instance, job) {of("build_info")})', width=4),
            number("Stopping", "Replicas that drain.", "short", total("draining"), (1, YELLOW), width=4),
            number("Files refused", "Changed files that were wrong and not taken over, within the time shown.", "short",
                   f'sum(increase({of("config_reloads_total", WRONG)}[$__range]))', (0.5, ORANGE), width=4, decimals=0),
            number("Lines and spans dropped", "Within the time shown.", "short",
                   f'sum(increase({of("telemetry_dropped_total")}[$__range]))', (0.5, ORANGE), width=4, decimals=0),
            number("Memory of the largest", "Resident.", "bytes", largest("process_resident_memory_bytes"), width=4),
            graph("Memory", "Resident, by replica.", "bytes", (largest("process_resident_memory_bytes", by="instance"), "{{instance}}")),
            graph("CPU", "Cores used, by replica.", "short", (rate("process_cpu_seconds_total", by="instance"), "{{instance}}")),
            graph("Open files", "Against how many may be open; sockets are files.", "percentunit",
                  (f'max by (instance) ({of("process_open_fds")} / {of("process_max_fds")})', "{{instance}}"), most=1,
                  lines=[(0.8, RED)]),
            graph("Ready", "1 while a replica takes traffic.", "short", (largest("ready", by="instance"), "{{instance}}"), most=1),
            graph("Threads", "Of the operating system.", "short", (largest("process_threads", by="instance"), "{{instance}}")),
            graph("Certificates", "How long the certificates are still valid; none without TLS.", "s",
                  (f'min by (instance, port) ({of("tls_certificate_expiry_timestamp_seconds")} - time())', "{{instance}} {{port}}"),
                  lines=[]),
            graph("Versions", "Replicas by version and revision.", "short",
                  (f'count by (version, revision) ({of("build_info")})', "{{version}} {{revision}}"), stacked=True),
        ]),
        ("Tasks", [
            graph("Alive", "Tasks that have not ended: grows with connections and turns, and falls with them.", "short",
                  (total("tokio_alive_tasks", by="instance"), "{{instance}}")),
            graph("Waiting for a thread", "In the queue all threads share: above 0 for long, the processor is short.", "short",
                  (total("tokio_global_queue_depth", by="instance"), "{{instance}}")),
            graph("Threads that run them", "As many as processors, unless told otherwise.", "short", (total("tokio_workers", by="instance"), "{{instance}}")),
        ]),
        ("Files and telemetry", [
            graph("Files read again", "By file and outcome.", "cps",
                  (rate("config_reloads_total", by="file, outcome"), "{{file}} {{outcome}}")),
            graph("Age of files", "Since a watched file was last read with success.", "s",
                  (f'time() - max by (file) ({of("config_reload_success_timestamp_seconds")})', "{{file}}")),
            graph("Dropped", "Log lines and spans that nobody took.", "cps",
                  (rate("telemetry_dropped_total", by="signal"), "{{signal}}")),
            graph("Held back", "Log lines not written because there were too many of their kind, by event.", "cps",
                  (rate("log_lines_suppressed_total", by="event"), "{{event}}"), stacked=True),
        ]),
    )
