"""Log lines name things in one way, so that one search finds all that happened to a campaign."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
PUBLIC = {"account", "campaign", "operation", "message"}


def log_fields() -> Iterator[tuple[str, str, ast.expr]]:
    """Place, name and value of each field of each log line."""
    for folder in ("api_min", "engine", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                    if ast.unparse(node.func.value).lstrip("_") != "log":
                        continue
                    for each in node.keywords:
                        if each.arg is not None:
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", each.arg, each.value


def test_lines_name_things_by_their_public_ids() -> None:
    fields = list(log_fields())
    assert len(fields) > 50
    assert not [place for place, name, _ in fields if name in {f"{each}_id" for each in PUBLIC}]
    raw = [(place, ast.unparse(value)) for place, name, value in fields if name in PUBLIC]
    raw = [(place, value) for place, value in raw if value.endswith("_id") and not value.endswith("public_id")]
    assert not raw
