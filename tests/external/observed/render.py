"""Draws the dashboards from a real Prometheus, panel by panel with units and legends, where there is no Grafana."""

import json
import math
import time

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

from observed.catalogue import DASHBOARDS

COLORS = {"green": "#56a64b", "yellow": "#f2cc0c", "orange": "#ff780a", "red": "#e02f44", "blue": "#3274d9"}
CELL = (0.62, 0.42)
# Grafana scrolls; a picture shows the first.
MOST_NAMES = 15


def in_words_of_prometheus(expression, prometheus):
    """Grafana's variables replaced: everything, and rates over what the short scrape interval allows."""
    whole = f"{int(time.time() - prometheus.began) + 1}s"
    for name, value in (("$__rate_interval", "4s"), ("$__range", whole), ("$namespace", ".*"), ("$job", ".*"), ("$instance", ".*")):
        expression = expression.replace(name, value)
    return expression


def all_dashboards(prometheus, folder):
    folder.mkdir(parents=True, exist_ok=True)
    return [draw(json.loads(path.read_text()), prometheus, folder / f"{path.stem}.png") for path in DASHBOARDS]


def draw(board, prometheus, path):
    panels = board["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(24 * CELL[0], rows * CELL[1] + 0.5), facecolor="white")
    figure.suptitle(board["title"], x=0.01, ha="left", fontsize=13, y=0.999, va="top")
    for panel in panels:
        place = panel["gridPos"]
        height = rows + 1.2
        left, bottom = place["x"] / 24, 1 - (place["y"] + place["h"] + 1.2) / height
        box = (left, bottom, place["w"] / 24, place["h"] / height)
        {"row": row, "stat": stat, "timeseries": lines}[panel["type"]](figure, box, panel, prometheus)
    figure.savefig(path, dpi=70)
    pyplot.close(figure)
    return path


def row(figure, box, panel, _):
    figure.text(box[0] + 0.005, box[1] + box[3] / 2, "▾ " + panel["title"], fontsize=10, weight="bold", va="center")


def stat(figure, box, panel, prometheus):
    target, defaults = panel["targets"][0], panel["fieldConfig"]["defaults"]
    found = [value for _, value in prometheus.query(in_words_of_prometheus(target["expr"], prometheus)) if not math.isnan(value)]
    text, color = "–", "#8e8e8e"
    if found:
        text = words(found[0], defaults)
        color = COLORS[[step["color"] for step in defaults["thresholds"]["steps"]
                        if step["value"] is None or found[0] >= step["value"]][-1]]
    axes = figure.add_axes((box[0] + 0.003, box[1] + box[3] * 0.08, box[2] - 0.006, box[3] * 0.84), facecolor=color)
    axes.set_xticks([]), axes.set_yticks([])
    axes.text(0.5, 0.4, text, ha="center", va="center", fontsize=15, color="white", weight="bold", transform=axes.transAxes)
    axes.text(0.03, 0.94, panel["title"], va="top", fontsize=8, color="white", transform=axes.transAxes)


def words(value, defaults):
    for mapping in defaults.get("mappings", ()):
        if (text := mapping["options"].get(f"{value:g}")):
            return text["text"]
    return with_unit(value, defaults["unit"], defaults.get("decimals"))


def lines(figure, box, panel, prometheus):
    defaults = panel["fieldConfig"]["defaults"]
    axes = figure.add_axes((box[0] + 0.035, box[1] + box[3] * 0.4, box[2] - 0.045, box[3] * 0.45))
    unit = {"reqps": " [req/s]", "cps": " [1/s]"}.get(defaults["unit"], "")
    axes.set_title(panel["title"] + unit, fontsize=8, loc="left", weight="bold")
    courses = [(legend(target, labels), points) for target in panel["targets"]
               for labels, points in prometheus.course(in_words_of_prometheus(target["expr"], prometheus))]
    courses = [(name, [(at - prometheus.began, value) for at, value in points if not math.isnan(value)]) for name, points in courses]
    courses = sorted((name, points) for name, points in courses if points)
    colors = {override["matcher"]["options"]: COLORS[override["properties"][0]["value"]["fixedColor"]]
              for override in panel["fieldConfig"]["overrides"]}
    if defaults["custom"]["stacking"]["mode"] == "normal":
        stack(axes, courses, colors)
    else:
        for name, points in courses:
            axes.plot(*zip(*broken_at_gaps(points)), linewidth=1, label=name, color=colors.get(name))
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and defaults["custom"]["thresholdsStyle"]["mode"] != "off":
            axes.axhline(step["value"], color=COLORS[step["color"]], linestyle="--", linewidth=0.8)
    axes.set_ylim(bottom=0, top=defaults.get("max", 0) * 1.05 or None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}" if unit else with_unit(value, defaults["unit"])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.tick_params(labelsize=6)
    axes.grid(linewidth=0.3)
    if courses:
        axes.legend(*(part[:MOST_NAMES] for part in axes.get_legend_handles_labels()), fontsize=5.5, ncols=max(1, min(3, panel["gridPos"]["w"] // 4)), loc="upper left", bbox_to_anchor=(-0.08, -0.14), frameon=False)
    else:
        axes.text(0.5, 0.5, "No data", ha="center", va="center", transform=axes.transAxes, color="#8e8e8e")


def broken_at_gaps(points):
    """No line where there was nothing for more than two steps."""
    for before, (at, value) in zip([points[0], *points], points):
        if at - before[0] > 2:
            yield at, math.nan
        yield at, value


def stack(axes, courses, colors):
    times = sorted({at for _, points in courses for at, _ in points})
    values = [[dict(points).get(at, 0) for at in times] for _, points in courses]
    if courses:
        names = [name for name, _ in courses]
        palette = [colors.get(name, f"C{at % 10}") for at, name in enumerate(names)]
        axes.stackplot(times, values, labels=names, colors=palette, alpha=0.75)


def legend(target, labels):
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def with_unit(value, unit, decimals=None):
    """As Grafana writes it."""
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f}%"
    if unit in ("reqps", "cps"):
        return f"{value:.{2 if decimals is None else decimals}f} {'req/s' if unit == 'reqps' else 'c/s'}"
    if unit == "bytes":
        power = min(4, int(math.log(value, 1024))) if value >= 1 else 0
        return f"{value / 1024 ** power:.3g} {['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}"
    if unit == "s" and value:
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
    return f"{value:.{decimals}f}" if decimals is not None else f"{value:.3g}"
