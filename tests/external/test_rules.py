"""Rules and dashboards name only what there is, and every alert is shown firing and explained."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from observed.catalogue import DASHBOARDS, ROOT, RULES, alerts, metrics, panels, queries, rules, wrong_in

TESTS = ROOT / "rules" / "tests.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"


def promtool(*arguments):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_right_and_every_alert_fires_and_stays_quiet():
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    promtool("test", "rules", TESTS)


def test_every_alert_is_shown_firing_and_quiet():
    firing, quiet = set(), set()
    for case in yaml.safe_load(TESTS.read_text())["tests"]:
        for expectation in case["promql_expr_test"]:
            name = re.search(r'alertname="(\w+)"', expectation["expr"]).group(1)
            (firing if expectation["exp_samples"] else quiet).add(name)
    names = {rule["alert"] for rule in alerts()}
    assert firing == names and quiet == names


def test_every_alert_has_all_a_sleepy_person_needs():
    runbooks = RUNBOOKS.read_text()
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule["alert"]
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbooks.md" and anchor == rule["alert"].lower(), rule["alert"]
        section = re.search(rf"^## {rule['alert']}\n(.*?)(?=^## |\Z)", runbooks, re.M | re.S)
        assert section, f"no section {rule['alert']}"
        for part in ("**Means**", "**Confirm**", "**Do**"):
            assert part in section.group(1), f"{rule['alert']}: {part}"


def test_nothing_names_a_metric_or_label_that_there_is_not():
    known, recorded = metrics(), {rule["record"] for rule in rules() if "record" in rule}
    assert len(known) > 70
    wrong = {where: faults for where, query in queries() if (faults := wrong_in(query, known, recorded))}
    assert not wrong, wrong


@pytest.mark.parametrize("query", [
    'sum(rate(polylogue_turn_total[5m]))', 'polylogue_turns_total{outcom="failed"}', 'polylogue_turns_total{outcome="fail"}',
    'sum by (persona) (polylogue_turns_total)', 'sum(polylogue_turn_duration_seconds)',
])
def test_a_name_that_is_wrong_is_found(query):
    assert wrong_in(query, metrics(), set())


def test_the_dashboards_are_those_of_their_source():
    done = subprocess.run([sys.executable, ROOT / "dashboards" / "source" / "generate.py", "--check"])
    assert done.returncode == 0


def test_every_metric_is_on_a_dashboard():
    drawn = " ".join(query for _, query in queries())
    missing = [name for name in metrics() if name not in drawn]
    assert missing == ["process_virtual_memory_bytes"], "memory that is only promised says nothing"


def test_every_dashboard_can_be_put_anywhere():
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        assert "uid" not in board and "id" not in board, path
        assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace", "job", "instance"]
        assert board["links"][0]["tags"] == ["polylogue"] == board["tags"], path


def test_every_panel_says_what_it_shows():
    for title, panel in panels():
        where = f"{title}: {panel['title']}"
        assert panel["datasource"]["uid"] == "${datasource}" and panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["description"], where
        for target in panel["targets"]:
            assert target["legendFormat"] and "$job" in target["expr"] or "ALERTS" in target["expr"], where


def test_the_runbooks_name_only_what_there_is():
    text = RUNBOOKS.read_text()
    known = metrics()
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    for query in re.findall(r"`([^`\n]*polylogue_[^`\n]*)`", text):
        assert not wrong_in(query.replace("…", "5m"), known, set()), query
    for event in re.findall(r'\.event == "(\w+)"', text):
        assert f'"{event}"' in source, event
    default = (ROOT / "docs" / "configuration.md").read_text()
    for setting in re.findall(r"`((?:turns|llm|memory|websocket|server|limits|telemetry|routing)\.[a-z_]+)`", text):
        assert setting in default, setting
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {rule["alert"].lower() for rule in alerts()}
