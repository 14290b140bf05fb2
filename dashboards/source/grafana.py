"""The words the dashboards are written in, in Grafana's classic JSON (loads in 10 to 13)."""

# Put into every query's selectors; `namespace` also matches where there is none.
WHERE = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


def of(metric, *matchers):
    """A selector of our metric."""
    name = metric if metric.startswith(("process_", "up")) else f"polylogue_{metric}"
    return f"{name}{{{','.join([WHERE, *matchers])}}}"


def rate(metric, *matchers, by=""):
    """Per second, summed."""
    return f"sum{grouped(by)} (rate({of(metric, *matchers)}[$__rate_interval]))"


def total(metric, *matchers, by=""):
    """What a gauge says, summed."""
    return f"sum{grouped(by)} ({of(metric, *matchers)})"


def largest(metric, *matchers, by=""):
    """The largest that a gauge says."""
    return f"max{grouped(by)} ({of(metric, *matchers)})"


def quantile(q, metric, *matchers, by=""):
    """A quantile of a histogram."""
    labels = "le, " + by if by else "le"
    return f"histogram_quantile({q}, {rate(metric + '_bucket', *matchers, by=labels)})"


def mean(metric, *matchers, by=""):
    """The mean of a histogram."""
    return f"{rate(metric + '_sum', *matchers, by=by)} / {rate(metric + '_count', *matchers, by=by)}"


def busy(expression):
    """Only what is not at zero, where most of many series always are."""
    return f"{expression} > 0"


def grouped(by):
    return f" by ({by})" if by else ""


def quantiles(metric, *matchers, of_what=""):
    """Median, p95 and p99, each with its legend."""
    return [(quantile(q, metric, *matchers), f"{of_what}{name}") for q, name in
            ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]


def graph(title, description, unit, *queries, width=8, stacked=False, most=None, lines=(), least=0):
    """Lines over time; `queries` are pairs of an expression and a legend; `lines` are limits to draw."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stacked else 8, "showPoints": "never",
              "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
              "thresholdsStyle": {"mode": "dashed" if lines else "off"}}
    defaults = {"unit": unit, "min": least, "custom": custom, "color": {"mode": "palette-classic"},
                "thresholds": steps(*lines)}
    if most is not None:
        defaults["max"] = most
    options = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
               "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, description, queries, width, 8, defaults, options)


def number(title, description, unit, expression, *levels, width=3, words=None, decimals=None):
    """One number, coloured by the levels it reaches; `words` are texts for values."""
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": steps(*levels), "noValue": "–"}
    if decimals is not None:
        defaults["decimals"] = decimals
    if words:
        texts = {str(value): {"text": text, "index": at} for at, (value, text) in enumerate(words.items())}
        defaults["mappings"] = [{"type": "value", "options": texts}]
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
               "colorMode": "background", "graphMode": "area", "textMode": "auto", "justifyMode": "auto"}
    return panel("stat", title, description, [(expression, "")], width, 4, defaults, options)


def steps(*levels):
    """Green, and from each level on its colour."""
    return {"mode": "absolute", "steps": [{"color": GREEN, "value": None}]
            + [{"color": color, "value": value} for value, color in levels]}


def panel(kind, title, description, queries, width, height, defaults, options):
    source = {"type": "prometheus", "uid": "${datasource}"}
    targets = [{"refId": chr(ord("A") + at), "datasource": source, "expr": expression, "legendFormat": legend or title,
                "range": True, "editorMode": "code"} for at, (expression, legend) in enumerate(queries)]
    return {"type": kind, "title": title, "description": description, "datasource": source, "targets": targets,
            "gridPos": {"w": width, "h": height}, "fieldConfig": {"defaults": defaults, "overrides": COLORED},
            "options": options}


def colored(color, *names):
    """The same word has the same colour everywhere."""
    return [{"matcher": {"id": "byName", "options": name},
             "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]} for name in names]


COLORED = [*colored(GREEN, "completed", "ok", "allowed"), *colored(RED, "failed", "refused", "500", "502", "503"),
           *colored(YELLOW, "cancelled", "429")]


def dashboard(title, description, *rows):
    """A page of rows, each a title and its panels, laid out from left to right on 24 columns."""
    panels, top = [], 0
    for name, row in rows:
        panels.append({"type": "row", "title": name, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})
        left, top, tallest = 0, top + 1, 0
        for it in row:
            place = it["gridPos"]
            if left + place["w"] > 24:
                left, top, tallest = 0, top + tallest, 0
            it["gridPos"] = {"x": left, "y": top, **place}
            left, tallest = left + place["w"], max(tallest, place["h"])
            panels.append(it)
        top += tallest
    for at, it in enumerate(panels):
        it["id"] = at + 1
    return {"title": f"Polylogue / {title}", "description": description, "tags": ["polylogue"], "schemaVersion": 39,
            "version": 1, "editable": True, "graphTooltip": 1, "timezone": "browser", "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"}, "links": [LINKS], "templating": {"list": VARIABLES},
            "annotations": {"list": [STARTS]}, "panels": panels}


LINKS = {"type": "dashboards", "title": "Polylogue", "tags": ["polylogue"], "asDropdown": False, "includeVars": True,
         "keepTime": True, "targetBlank": False, "icon": "dashboard", "tooltip": "", "url": ""}

STARTS = {"name": "Starts of replicas", "datasource": {"type": "prometheus", "uid": "${datasource}"}, "enable": True,
          "iconColor": BLUE, "titleFormat": "{{instance}} started", "step": "30s", "useValueForTime": False,
          "expr": f"changes({of('process_start_time_seconds')}[1m]) > 0"}


def variable(name, label, query):
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {"type": "query", "name": name, "label": label, "datasource": source, "query": query, "definition": query,
            "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]}}


VARIABLES = [
    {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {},
     "hide": 0, "refresh": 1},
    variable("namespace", "Namespace", "label_values(polylogue_build_info, namespace)"),
    variable("job", "Job", 'label_values(polylogue_build_info{namespace=~"$namespace"}, job)'),
    variable("instance", "Replica", 'label_values(polylogue_build_info{namespace=~"$namespace",job=~"$job"}, instance)'),
]
