"""A real Prometheus watches every feature and every fault, and is then asked whether it saw them."""

import json
import math

import pytest

from observed import faults, features, render
from observed.catalogue import ROOT, alerts, metrics, panels, queries
from observed.prometheus import Prometheus, until
from observed.scene import Control, Ledger, Model, Redis, Replica, new_key, upstreams
from conftest import CACHE, free_port

# Shown by the Rust tests named, because it takes hours, a race or a certificate.
ELSEWHERE = {
    "polylogue_memory_unconfirmed_dropped_total": "too_much_that_waits_pushes_out_its_oldest_turns_and_nothing_else",
    "polylogue_memory_merge_conflicts_total": "of_a_turn_answered_twice_the_version_that_is_shared_first_counts",
    "polylogue_turnlog_lost_total": "a_log_that_stays_away_is_given_up_some_time_after_the_deadline",
    "polylogue_tls_certificate_expiry_timestamp_seconds": "a_renewed_certificate_is_for_new_connections_and_open_ones_go_on",
}
# Not in this run: the three above, no TLS, and a replica is never found alive and not ready for long.
QUIET = {"PolylogueMessagesLost", "PolylogueTurnLogLost", "PolylogueCertificateEnds", "PolylogueCertificateEndsNow",
         "PolylogueNotReady"}
# Panels about what this run does not have.
EMPTY = {"Certificates"}

ONE_PERSONA = '[[personas]]\nid = "only"\nname = "Only"\ndescription = "Answers."\nsystem_prompt = "Answer."\n'
FLAGS = json.dumps({"flags": {"routing": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}}})


class Run:
    """What happened, in order, and what is left to ask about it."""

    def __init__(self, folder):
        self.ledger, self.prometheus = Ledger(), Prometheus(folder)
        self.start(folder)
        self.use_everything()
        self.prometheus.has_scraped()
        self.wrong = self.of_ledger()
        self.break_everything(folder)

    def start(self, folder):
        self.redis, self.primary, self.secondary = Redis(folder), Model(), Model()
        file = upstreams(folder / "replicas.toml", ("primary", self.primary), ("secondary", self.secondary))
        shared = {"redis.url": f"redis://127.0.0.1:{self.redis.port}", "redis.breaker.recovery": "1s", "redis.retry.wait": "50ms",
                  "turns.lease": "2s", "turns.beat": "200ms", "websocket.max_per_client": 100}
        self.one, self.other = (Replica(self.prometheus, "replicas", shared, file) for _ in range(2))
        until("they see each other", lambda: self.prometheus.value('min(polylogue_replicas_live{job="replicas"})') == 2)
        self.ledger.seen('replicas_live{job="replicas"}', 4)
        self.local = self.start_local(folder)
        odd = {"websocket.max_total": 2, "websocket.max_per_client": 2, "websocket.idle_ttl": "3s", "turns.max_concurrent": 1,
               "server.header_timeout": "1s", "server.keep_alive_timeout": "1s", "simulator.time_to_first_token": "100ms"}
        self.odd = Replica(self.prometheus, "odd", odd)

    def start_local(self, folder):
        self.flags, keys, persona = folder / "flags.json", folder / "keys.toml", folder / "personas.toml"
        made = new_key("ada")
        self.key = next(word for word in made.split() if word.startswith("plg_"))
        self.flags.write_text(FLAGS), keys.write_text(made), persona.write_text(ONE_PERSONA)
        address = f"127.0.0.1:{free_port()}"
        local = Replica(self.prometheus, "local", {
            "simulator.listen": address, "flags.file": self.flags, "personas.file": persona, "auth.keys_file": keys,
            "auth.jwt.issuer": "https://x.example", "auth.jwt.audience": "us", "auth.jwt.jwks_url": "http://127.0.0.1:1/jwks",
            "limits.policies.default.quota": 20, "limits.policies.default.window": "10s",
            "limits.policies.failed_authentication.quota": 1000000})
        local.model = Control(address)
        return local

    def use_everything(self):
        one, other, model, ledger, prometheus = self.one, self.other, self.primary.control, self.ledger, self.prometheus
        features.ask_and_wait(one, model, ledger)
        features.ask_three_and_follow(one, model, ledger)
        features.let_the_model_choose(one, model, ledger)
        features.repeat_a_request(one, model, ledger)
        features.cancel_what_is_read_elsewhere(one, other, model, ledger, prometheus)
        features.keep_a_conversation(one, model, ledger)
        features.survive_a_bad_attempt(one, model, ledger)
        features.talk_on_a_socket(one, model, ledger, prometheus)
        features.forward_headers(one, ledger)
        features.misuse_sockets(self.odd, ledger)
        features.misuse_connections(self.odd, ledger)
        features.take_a_ticket(self.odd, ledger, prometheus)
        right = {"Authorization": f"Bearer {self.key}"}
        for headers, outcome in ((right, "ok"), ({"Authorization": f"Bearer plg_{'0' * 72}"}, "malformed"), ({}, "missing")):
            method = "api_key" if headers else "none"
            self.local.ask("hello", headers=headers)
            ledger.exactly(f'auth_attempts_total{{job="local",method="{method}",outcome="{outcome}"}}')
        ledger.exactly('routing_decisions_total{job="local",source="single"}')

    def of_ledger(self):
        try:
            self.ledger.check_exact(self.prometheus)
        except AssertionError as wrong:
            return str(wrong)
        return ""

    def break_everything(self, folder):
        one, other, prometheus = self.one, self.other, self.prometheus
        _, self.said = faults.everything(one, other, self.local, self.odd, self.primary.control, self.redis, prometheus, self.key)
        faults.sockets_fill(self.odd, prometheus)
        faults.wrong_file(self.flags, prometheus)
        faults.a_replica_dies(one, other, self.primary.control, prometheus)
        port = f"127.0.0.1:{free_port()}"
        faults.started_again(lambda: Replica(prometheus, "again", {}, management=port), prometheus)
        deaf = Replica(prometheus, "deaf", {"telemetry.log_filter": "debug"})
        faults.nobody_reads_the_log(deaf, prometheus)
        deaf.process.kill()
        prometheus.has_scraped(other.instance)

    def nobody_is_left(self):
        self.prometheus.forget()
        faults.firing(self.prometheus, "PolylogueAbsent")

    def stop(self):
        for replica in (self.other, self.local, self.odd, self.primary.service, self.secondary.service):
            replica.stop()
        self.redis.stop()
        self.prometheus.stop()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("observed"))
    yield run
    run.stop()


def test_every_counter_is_what_was_done(run):
    assert not run.wrong, run.wrong


def test_every_metric_moved(run):
    missing = []
    for name, metric in metrics().items():
        sample = metric.series()[-1]
        if not run.prometheus.value(f"max(max_over_time({sample}[1h]))") and name not in ELSEWHERE:
            missing.append(name)
    # Nobody waits for a thread at the moment of a scrape, and a replica that stops is gone before the next one.
    assert set(missing) <= {"polylogue_tokio_global_queue_depth", "polylogue_draining"}, missing
    run.ledger.check_all(run.prometheus)


def test_what_is_shown_elsewhere_is():
    tests = "".join(path.read_text() for folder in ("src", "tests/it") for path in (ROOT / folder).rglob("*.rs"))
    for name in ELSEWHERE.values():
        assert f"fn {name}(" in tests, name


def test_every_panel_has_data(run):
    empty = [f"{title}: {panel['title']}: {target['expr']}" for title, panel in panels() if panel["title"] not in EMPTY
             for target in panel["targets"] if not any_number(run, target["expr"])]
    assert not empty, empty


def test_every_alert_can_be_asked(run):
    for where, expression in queries():
        run.prometheus.query(render.in_words_of_prometheus(expression, run.prometheus))


def test_every_picture_is_drawn(run):
    assert len(render.all_dashboards(run.prometheus, CACHE / "pictures")) == 6


def test_every_alert_that_should_fire_does(run):
    run.nobody_is_left()
    fired = {labels["alertname"] for labels, _ in run.prometheus.query(
        'count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[1h]))')}
    assert fired == {rule["alert"] for rule in alerts()} - QUIET


def test_alerts_say_what_happened(run):
    assert run.said
    for alert in run.said:
        for text in alert["annotations"].values():
            assert "<" not in text and "%!" not in text and "{{" not in text, text


def any_number(run, expression):
    course = run.prometheus.course(render.in_words_of_prometheus(expression, run.prometheus))
    return any(not math.isnan(value) for _, points in course for _, value in points)
