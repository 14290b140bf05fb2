#!/usr/bin/env python3
"""Makes what the chart says of its values from `polylogue/values.yaml` and the program's `config/default.toml`:

    charts/generate.py            writes polylogue/values.schema.json and the table of polylogue/README.md, and copies rules/ and
                                  dashboards/ into the chart, because Helm reads no file outside of it
    charts/generate.py --check    fails if they are not what it would write
"""

import json
import pathlib
import re
import sys
import tomllib

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE / "polylogue"
DEFAULTS = HERE.parent / "config" / "default.toml"
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"

# Written by the chart: addresses, and files that are mounted from Secrets and ConfigMaps.
OWNED = {"server.listen", "server.management_listen", "personas.file", "flags.file", "auth.keys_file", "auth.jwt.key_file",
         "redis.ca_file", "redis.cert_file", "redis.key_file", "simulator.listen"} | {
             f"server.{port}.{file}_file" for port in ("tls", "management_tls") for file in ("cert", "key", "client_ca")}
# Never in a ConfigMap; `src/config/schema.rs` has the same list. `redis.url` may be without a password.
SECRET = {"server.management_token", "redis.password", "redis.sentinel_password", "llm.api_key", "tracing.headers"}
DURATION = r"^([0-9]+(ms|s|m|h|d) ?)+$"
SIZE = r"^[0-9]+ ?([KMG]i?B|B)$"
UPSTREAM = {"type": "object", "additionalProperties": False, "required": ["name", "base_url"],
            "properties": {name: {"type": "string"} for name in ("name", "base_url", "model", "api_key_file")}}


def comments():
    """Each key of values.yaml with its section, its description and its schema, by dotted path, in the file's order."""
    found, path, section, text, schema = {}, [], "", [], {}
    for line in (CHART / "values.yaml").read_text().splitlines():
        stripped = line.strip()
        if stripped.startswith("# @section "):
            section, text, schema = stripped.removeprefix("# @section "), [], {}
        elif stripped.startswith("# @schema "):
            schema = json.loads(stripped.removeprefix("# @schema "))
        elif stripped.startswith("# -- "):
            text = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and text:
            text.append(stripped.removeprefix("# "))
        elif key := re.match(r"( *)([A-Za-z_]+):( |$)", line):
            path = path[:len(key[1]) // 2] + [key[2]]
            found[".".join(path)] = (section, " ".join(text), schema)
            text, schema = [], {}
    return found


def described(path, known):
    """A value is described itself or is part of one that is."""
    parts = path.split(".")
    return any(known.get(".".join(parts[:n]), ("", "", {}))[1] for n in range(1, len(parts) + 1))


def setting(path, default):
    """The schema of one of the program's settings."""
    match default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case float():
            return {"type": "number"}
        case list():
            return {"type": "array", "items": UPSTREAM if path == "llm.upstreams" else {"type": "string"}}
        case str() if re.match(DURATION, default):
            return {"type": "string", "pattern": DURATION}
        case str() if re.match(SIZE, default):
            return {"type": "string", "pattern": SIZE}
        case str():
            return {"type": "string"}
        case dict():
            return settings(default, path)


def settings(table, path=""):
    inside = {name: f"{path}.{name}".lstrip(".") for name in table}
    schema = {"type": "object", "additionalProperties": False, "properties": {
        name: setting(place, table[name]) for name, place in inside.items() if place not in OWNED | SECRET}}
    if path == "limits.routes":
        schema = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
    if path == "limits.policies":
        schema["additionalProperties"] = schema["properties"]["default"]
    return schema


def schema_of(value, path, known):
    _, text, extra = known.get(path, ("", "", {}))
    if path == "config":
        found = settings(tomllib.loads(DEFAULTS.read_text()))
        for place, (_, _, more) in known.items():
            if place.startswith("config.") and more:
                target = found
                for part in place.split(".")[1:]:
                    target = target["properties"][part]
                target.update(more)
    elif isinstance(value, bool):
        found = {"type": "boolean"}
    elif isinstance(value, int):
        found = {"type": "integer"}
    elif isinstance(value, str):
        found = {"type": "string"}
    elif isinstance(value, list):
        found = {"type": "array"}
    elif value and any(place.startswith(path + ".") and known[place][1] for place in known):
        found = {"type": "object", "additionalProperties": False, "properties": {
            name: schema_of(inner, f"{path}.{name}", known) for name, inner in value.items()}}
    else:
        found = {"type": "object"} if isinstance(value, dict) else {}
    return ({"description": text} if text else {}) | found | extra


def schema():
    values, known = yaml.safe_load((CHART / "values.yaml").read_text()), comments()
    properties = {name: schema_of(value, name, known) for name, value in values.items()}
    # A parent chart's `global` holds what it likes.
    del properties["global"]["additionalProperties"]
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the polylogue chart",
                       "type": "object", "additionalProperties": False, "properties": properties}, indent=1) + "\n"


def leaves(value, path, known):
    """What gets a line in the README: everything that is described."""
    if known.get(path, ("", "", {}))[1]:
        yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}".lstrip("."), known)


def table():
    values, known = yaml.safe_load((CHART / "values.yaml").read_text()), comments()
    missing = [path for path in known if not described(path, known)
               and not any(other.startswith(path + ".") for other in known)]
    if missing:
        sys.exit(f"without a description in values.yaml: {', '.join(missing)}")
    lines, section = [], None
    for path, value in leaves(values, "", known):
        if known[path][0] != section:
            section = known[path][0]
            lines += ["", f"### {section}", "", "| value | default | meaning |", "|---|---|---|"]
        parts = isinstance(value, dict) and any(place.startswith(path + ".") and known[place][1] for place in known)
        shown = "" if parts else f"`{json.dumps(value, ensure_ascii=False)}`"
        lines.append(f"| `{path}` | {shown} | {known[path][1]} |".replace("||", "\\|\\|"))
    return "\n".join(lines).strip() + "\n"


def readme():
    text = (CHART / "README.md").read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}{table()}{END}{after}"


def shipped():
    """Files of the repository that the chart brings along, by their place in it: no tests of rules, no sources."""
    files = [*(HERE.parent / "rules").glob("*.yaml"), *(HERE.parent / "dashboards").glob("*.json")]
    return {f"{file.parent.name}/{file.name}": file.read_text() for file in sorted(files) if file.name != "tests.yaml"}


def main():
    wanted = {"values.schema.json": schema(), "README.md": readme()} | shipped()
    copies = {str(file.relative_to(CHART)) for folder in ("rules", "dashboards") for file in (CHART / folder).glob("*")}
    stale = [name for name, text in wanted.items() if not (CHART / name).exists() or (CHART / name).read_text() != text]
    stale += sorted(copies - wanted.keys())
    if "--check" not in sys.argv:
        for name in stale:
            (CHART / name).parent.mkdir(exist_ok=True)
            (CHART / name).write_text(wanted[name]) if name in wanted else (CHART / name).unlink()
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: update with charts/generate.py")


if __name__ == "__main__":
    main()
