"""The values that break other people's servers, in every place of the document where a client may put one."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.outside.live import Live
from tests.outside.test_document import OPERATIONS, STREAMS, resolve
from tests.outside.things import DID, make_things

PLAIN = [
    "",
    "%00",
    "a%00b",
    "%0d%0aX-Injected:%201",
    "%ff%fe",
    "%ed%a0%80",
    "%F0%9F%98%80",
    "..%2f..%2fetc%2fpasswd",
    "' or 1=1--",
    "9" * 5_000,
    "-1",
    "1e999",
    "0x10",
    "٣",
    "9223372036854775808",
    "+1" + "4" * 4_000,
    "camp_" + "z" * 13,
    "null",
    "9999-12-31",
    "0001-01-01",
    "2026-W01-1",
    "x" * 20_000,
]
DEEP: Any = 0
for _ in range(400):
    DEEP = {"a": DEEP}
VALUES = [
    None, True, -1, 0, 10**18, 2**63, 1.5, 1e308, "", " ", "\t\r\n", "\u2028", "\ufeff", "😀" * 500, "x" * 100_000,
    [], {}, [[]], [None], {"a": "b"}, DEEP, [DEEP], "{{", "https://[", "https://a:99999/", "sip:\r\nVia: x",
]  # fmt: skip
Things = Mapping[str, str]
CALLED = [each for each in OPERATIONS if each[0] not in STREAMS]
each_operation = pytest.mark.parametrize(
    ("path", "method", "operation"), CALLED, ids=[f"{method.upper()} {path}" for path, method, _ in CALLED]
)


@pytest.fixture(scope="module")
def key(outside: Live) -> str:
    return outside.client(numbers=[DID]).key


@pytest.fixture(scope="module")
def things(outside: Live, key: str) -> Things:
    return outside.run(make_things(outside.api, key))


@pytest.fixture(scope="module")
def session(key: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        yield session


def check(answer: requests.Response, operation: dict[str, Any], what: object) -> None:
    shown = str(what)[:200]
    assert answer.status_code < 500, (shown, answer.text)
    assert str(answer.status_code) in {*operation["responses"], "404"}, (shown, answer.text)
    assert "X-Injected" not in answer.headers
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"code", "message", "fields"}
        assert len(answer.content) < 10_000, shown  # an error quotes what it was sent, but not all of it


@each_operation
def test_in_paths_and_queries(
    outside: Live, session: requests.Session, path: str, method: str, operation: dict[str, Any]
) -> None:
    parameters = [each for each in operation["parameters"] if each["in"] in ("path", "query")]
    examples = {each["name"]: str(each["schema"].get("examples", [""])[0]) for each in parameters}
    for parameter in parameters:
        for value in PLAIN:
            filled = examples | {parameter["name"]: value}
            target = path.format(**{name: filled.get(name, "x") or "x" for name in examples})
            query = f"?{parameter['name']}={value}" if parameter["in"] == "query" else ""
            keyed = {"Idempotency-Key": uuid.uuid4().hex}
            check(session.request(method, outside.url + target + query, headers=keyed), operation, target + query)


@each_operation
def test_in_bodies(
    outside: Live,
    session: requests.Session,
    things: Things,
    path: str,
    method: str,
    operation: dict[str, Any],
) -> None:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if not body:
        return
    schema = resolve(body["schema"])
    target = path.format(**things)
    for changed in [*VALUES, *changes(schema["examples"][0], schema["properties"])]:
        check(session.request(method, outside.url + target, json=changed), operation, changed)


def changes(example: Mapping[str, Any], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The example with each of its fields, and each field of those, replaced by each value."""
    for name in names:
        inner = example.get(name)
        for value in VALUES:
            yield {**example, name: value}
            for field in inner if isinstance(inner, dict) else ():
                yield {**example, name: {**inner, field: value}}
