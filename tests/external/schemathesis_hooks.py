"""Lets Schemathesis hold every event of a stream to its schema."""

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Says `x-event-schema`, which OpenAPI 3.1 has no word for, in the words of OpenAPI 3.2."""
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                stream = response.get("content", {}).get("text/event-stream")
                if stream is not None:
                    stream["itemSchema"] = event(stream.pop("schema")["x-event-schema"])


def event(schema):
    return {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string"},
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": schema},
        },
    }
