"""No adapter can be written and forgotten."""

import ast
from pathlib import Path

from engine.carriers import catalog

PACKAGE = Path(catalog.__file__).parent


def _adapter_names() -> set[str]:
    """`name = "…"` of every class in this package that also has `caps`, read without importing anything."""
    names = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                assigned = {
                    target.id: statement.value
                    for statement in node.body
                    if isinstance(statement, ast.Assign)
                    for target in statement.targets
                    if isinstance(target, ast.Name)
                }
                name = assigned.get("name")
                if "caps" in assigned and isinstance(name, ast.Constant):
                    names.add(str(name.value))
    return names


def test_the_catalog_is_complete() -> None:
    assert _adapter_names() == set(catalog.CARRIERS)
