"""docs/metrics.md as data, and what PromQL may name of it."""

import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
RULES = ROOT / "rules" / "polylogue.yaml"
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))

# What the scrape adds, and what Prometheus and its rules make.
SCRAPE = {"namespace", "job", "instance"}
MADE = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}

ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| (.*)$")


class Metric:
    def __init__(self, name, kind, labels):
        self.name, self.kind, self.labels = name, kind, labels

    def series(self):
        """The names its samples have."""
        return [self.name + part for part in ("_bucket", "_sum", "_count")] if self.kind == "histogram" else [self.name]


def metrics():
    """Every metric of the catalogue by name."""
    found = {}
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        if row := ROW.match(line):
            name, kind, rest = row.groups()
            labels = {} if name.startswith("process_") else dict(label(text) for text in rest.split(" | ")[0].split("; ") if text.strip())
            found[name] = Metric(name, kind, labels)
    return found


def label(text):
    name, _, values = text.partition(":")
    return name.strip(" `"), [value.strip() for value in values.split(",")] if values else None


def rules():
    """Every rule with the group it is in."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def panels():
    """Every panel with a query, with its dashboard's title."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield board["title"], panel


def queries():
    """Every expression there is, with where it stands."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for title, panel in panels():
        for target in panel["targets"]:
            yield f"{title}: {panel['title']}", target["expr"]
    for path in DASHBOARDS:
        for annotation in json.loads(path.read_text())["annotations"]["list"]:
            yield f"{path.stem}: {annotation['name']}", annotation["expr"]


NAME = re.compile(r"(?<![\w:\"$.])([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
WORDS = {"by", "without", "on", "ignoring", "and", "or", "unless", "bool", "offset", "group_left", "group_right"}


def wrong_in(expression, known, recorded):
    """What an expression names that there is not."""
    samples = {name: metric for metric in known.values() for name in metric.series()}
    faults, allowed = [], set(SCRAPE)
    grouped = {name.strip() for group in GROUPING.findall(expression) for name in group.split(",") if name.strip()}
    bare = GROUPING.sub(" ", expression)
    for found in NAME.finditer(bare):
        name, matchers = found.groups()
        if bare[found.end():].lstrip().startswith("(") or name in WORDS or name.startswith("__"):
            continue
        if re.search(r"\[[^\]]*$", bare[:found.start()]):
            continue
        if name in samples:
            labels = samples[name].labels | ({"le": None} if name.endswith("_bucket") else {})
        elif name in recorded or name in MADE:
            labels = dict.fromkeys(MADE.get(name, ()))
        else:
            faults.append(f"no metric {name}")
            continue
        allowed |= set(labels)
        for label_name, operator, value in MATCHER.findall(matchers or ""):
            if label_name in SCRAPE:
                continue
            if label_name not in labels:
                faults.append(f"{name} has no label {label_name}")
            elif labels[label_name] is not None:
                pattern = re.compile(value if "~" in operator else re.escape(value))
                if not any(pattern.fullmatch(one) for one in labels[label_name]):
                    faults.append(f"{label_name} of {name} is never {value}")
    return faults + [f"nothing has a label {name}" for name in sorted(grouped - allowed)]
