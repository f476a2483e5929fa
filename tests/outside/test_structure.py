"""No secret is compared by a comparison that ends at the first difference: its time would tell how much is right.

API keys are looked up by their SHA-256, which a guesser does not control byte by byte.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRETS = ("secret", "signature", "digest", "hmac", "_mac", "token", "password", "authorization", "api_key")
# file → expression that looks like one, and is none
INNOCENT = {
    ("engine/store/idempotency.py", "first.request_hash != digest"): "of the client's own request, not a secret",
    ("engine/simulation/runner.py", "found.digest != expected.digest"): "of two simulated histories",
    ("engine/carriers/agent_token.py", "token_ref == ref"): "the claim, after its MAC has been verified",
}
VERIFIERS = {
    "engine/carriers/simulated_command.py",
    "engine/carriers/simulated_document.py",
    "engine/carriers/agent_token.py",
    "engine/carriers/network/command_shape.py",
    "engine/carriers/network/document_shape.py",
}


def sources() -> list[Path]:
    return [path for folder in ("engine", "api_min", "workers") for path in sorted((ROOT / folder).rglob("*.py"))]


def comparisons(path: Path) -> Iterator[str]:
    """Every `==` and `!=` of two values of which neither is written down in the code."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Compare) or not any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops):
            continue
        if not any(isinstance(each, ast.Constant) for each in (node.left, *node.comparators)):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_secrets_are_compared_in_constant_time(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    for text in comparisons(path):
        is_suspect = any(word in text.lower() for word in SECRETS)
        assert not is_suspect or (name, text) in INNOCENT, f"{name}: {text}; use hmac.compare_digest"


def test_each_that_verifies_uses_the_constant_time_comparison() -> None:
    using = {str(path.relative_to(ROOT)) for path in sources() if "compare_digest(" in path.read_text("utf-8")}
    assert using >= VERIFIERS


def test_the_exceptions_are_still_there() -> None:
    for name, text in INNOCENT:
        assert text in set(comparisons(ROOT / name))


@pytest.mark.parametrize("fault", ["a.secret == b", "given_token != known", "x.signature == sign(y)", "mac == _mac(z)"])
def test_the_walk_can_fail(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(f"if {fault}: pass\n")
    (text,) = comparisons(path)
    assert any(word in text for word in SECRETS)
