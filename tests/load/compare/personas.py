"""The personas of Polylogue and of the stand-in: for each pace of the upstream eight, to be asked side by side."""

from .upstream import PACED, STREAM, WHOLE

COUNT = 8
KINDS = {"whole": WHOLE, "stream": STREAM, "paced": PACED}


def ids(kind: str, count: int = 1) -> list[str]:
    return [f"{kind}-{number}" for number in range(1, count + 1)]


def models() -> dict[str, str]:
    return {persona: model for kind, model in KINDS.items() for persona in ids(kind, COUNT)}


def as_toml(models: dict[str, str]) -> str:
    """A personas file. The prompts are short, because peers send none."""
    return "".join(
        f'[[personas]]\nid = "{persona}"\nname = "{persona}"\ndescription = "Answers load tests."\n'
        f'system_prompt = "You are {persona}."\nmodel = "{model}"\ncontext = "own"\n\n'
        for persona, model in models.items()
    )
