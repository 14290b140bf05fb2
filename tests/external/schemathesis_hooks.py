"""Makes the document as narrow as the running service, so that what fits it must be taken and what does not, refused."""

import schemathesis

# The built-in ones; any other that fits the pattern is rightly `unknown_persona`.
PERSONAS = ["guide", "historian", "skeptic"]


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema["components"]["schemas"]

    asked = schemas["ChatRequest"]["properties"]
    asked["personas"]["items"] = {"type": "string", "enum": PERSONAS}
    # The description says it; OpenAPI 3.0, which is served too, has no `propertyNames`.
    asked["metadata"]["propertyNames"] = {"minLength": 1, "maxLength": 64}

    # The description says it: only an assistant's message has a persona.
    added = schemas["AddMessage"]
    added["properties"]["persona"] = {"type": "string", "enum": PERSONAS}
    added["not"] = {"required": ["persona"], "properties": {"role": {"const": "user"}}}

    for path in raw_schema["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                check_each_event(answer.get("content", {}).get("text/event-stream"))


def check_each_event(stream):
    """Generated clients want `schema`; for this tool that is the whole stream, and `itemSchema` one event, decoded."""
    if stream:
        event = stream.pop("schema")["x-event-schema"]
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": event}
        stream["itemSchema"] = {"type": "object", "required": ["id", "event", "data"], "properties": {"data": data}}
