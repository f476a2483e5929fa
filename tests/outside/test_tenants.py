"""Every operation of the document, walked with keys that must not pass: of another account, without the scope, live
where the thing is a test's. What a stranger may find is nothing, and what he may change is nothing."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest

from api_min.document import operations
from engine.embedded.servers import Servers
from engine.store.keys import SCOPES
from tests.api.harness import Answer, Client
from tests.outside.conftest import served
from tests.outside.live import Live
from tests.outside.test_document import DOCUMENT, PUBLIC, STREAMS, resolve
from tests.outside.things import DID, make_things

CALLED = [(path, method, each) for path, method, each in operations(DOCUMENT) if path not in STREAMS | PUBLIC]
WITHDRAWAL = "/api/consents/{phone}", "delete"  # names a person of whom nothing need be known
NAMING = [each for each in CALLED if "{" in each[0] and each[:2] != WITHDRAWAL]
LISTS = [each for each in CALLED if each[1] == "get" and "{" not in each[0]]

Things = Mapping[str, str]  # path parameter → what it can name

# Names of other things in bodies; unknown ones are a 400 that names the field.
OWNED = ("userId", "teamId", "lineId")


def schema_of(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Of its JSON body; empty when it has none."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return resolve(content["schema"]) if content else {}


def body_of(operation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The example of the document, as a client would send it, but for what it says of other things."""
    schema = schema_of(operation)
    if not schema:
        return None
    return {name: value for name, value in schema["examples"][0].items() if name not in OWNED} or {"label": "x"}


def ids_of(calls: list[Any]) -> list[str]:
    return [f"{method.upper()} {path}" for path, method, _ in calls]


@pytest.fixture(scope="module")
def owner(outside: Live) -> Client:
    return outside.client(numbers=[DID])


@pytest.fixture(scope="module")
def things(outside: Live, owner: Client) -> Things:
    return outside.run(make_things(outside.api, owner.key))


@pytest.fixture(scope="module")
def stranger(outside: Live) -> Client:
    """It may do everything, in an account of its own that holds nothing."""
    return outside.client()


def ask(outside: Live, client: Client, path: str, method: str, operation: Mapping[str, Any], things: Things) -> Answer:
    target = path.format(**things)
    answer: Answer = outside.ask(client, method.upper(), target, body_of(operation))
    return answer


@pytest.fixture
def snapshot(outside: Live, owner: Client) -> Iterator[None]:
    """Asserts that the rows of the owner's account are the same afterwards."""
    before = rows_of(outside, owner.account_id)
    assert sum(map(len, before.values())) > 10
    yield
    after = rows_of(outside, owner.account_id)
    for table, rows in before.items():
        assert after[table] == rows, table


def rows_of(outside: Live, account_id: int) -> dict[str, list[str]]:
    """Every row that names the account, by table; whatever tables there are."""
    url = outside.api.runtime.settings.sqlalchemy_url.replace("+psycopg", "")
    found = {}
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "select table_name from information_schema.columns where column_name = 'account_id'"
            " and table_schema = 'public' and table_name not in (select inhrelid::regclass::text from pg_inherits)"
        ).fetchall()
        for (table,) in tables:
            rows = conn.execute(
                f"select to_jsonb(t)::text from {table} t where account_id = %s order by 1",  # type: ignore[arg-type]
                [account_id],
            )
            found[table] = [row[0] for row in rows]
    return found


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize(("path", "method", "operation"), NAMING, ids=ids_of(NAMING))
def test_a_stranger_finds_nothing_by_name(
    outside: Live, stranger: Client, things: Things, path: str, method: str, operation: Mapping[str, Any]
) -> None:
    answer = ask(outside, stranger, path, method, operation, things)
    assert (answer.status, answer.error["code"]) == (404, "not_found"), answer.text
    assert not (set(things.values()) - {"1"}) & set(re.findall(r"[\w+]+", answer.text))


@pytest.mark.usefixtures("snapshot")
def test_a_withdrawal_is_the_stranger_s_own_and_tells_nothing(outside: Live, things: Things) -> None:
    path, method = WITHDRAWAL
    answer = outside.ask(outside.client(), method.upper(), path.format(**things))
    assert (answer.status, answer.json["revoked"]) == (200, 0)


@pytest.mark.parametrize(("path", "method", "operation"), LISTS, ids=ids_of(LISTS))
def test_a_stranger_s_lists_hold_nothing_of_others(
    outside: Live, stranger: Client, things: Things, path: str, method: str, operation: Mapping[str, Any]
) -> None:
    answer = outside.ask(stranger, "GET", path)
    assert answer.status in (200, 202), answer.text
    for name, value in things.items():
        assert name == "n" or value not in answer.text


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize("name", ["userId", "teamId", "lineId"])
def test_a_stranger_cannot_take_what_others_have_for_his_own(
    outside: Live, stranger: Client, things: Things, name: str
) -> None:
    other = things[f"{name.removesuffix('Id')}_id"]
    tried = 0
    for path, method, operation in CALLED:
        if "{" in path or name not in schema_of(operation).get("properties", {}):
            continue
        answer = outside.ask(stranger, method.upper(), path, {**(body_of(operation) or {}), name: other})
        assert (answer.status, list(answer.error["fields"])) == (400, [name]), (path, answer.text)
        tried += 1
    assert tried


@pytest.mark.parametrize(("path", "method", "operation"), CALLED, ids=ids_of(CALLED))
def test_without_its_scope_it_is_refused_whatever_else_the_key_may(
    outside: Live, owner: Client, things: Things, path: str, method: str, operation: Mapping[str, Any]
) -> None:
    (scopes,) = operation["security"][0].values()
    if not scopes:
        return  # any key of the account may
    others = [each for each in SCOPES if each not in {*scopes, "*"}]
    weak = outside.client(others, account_id=owner.account_id)
    before = rows_of(outside, owner.account_id)
    answer = ask(outside, weak, path, method, operation, things)
    assert (answer.status, answer.error["fields"]) == (403, {"scope": scopes[0]}), answer.text
    after = rows_of(outside, owner.account_id)
    assert after == before


@pytest.mark.parametrize(("path", "method", "operation"), CALLED, ids=ids_of(CALLED))
@pytest.mark.parametrize("key", ["", "tk_test_unknown", "tk_live_" + "a" * 43, "é" * 10, "x" * 9_000])
def test_without_a_key_that_works_it_is_refused_before_it_is_read(
    outside: Live,
    owner: Client,
    things: Things,
    path: str,
    method: str,
    operation: Mapping[str, Any],
    key: str,
) -> None:
    nobody = Client(owner.session, owner.url, key)
    answer: Answer = outside.ask(nobody, method.upper(), path.format(**things), data=b"{not json")
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("path", sorted(STREAMS))
def test_streams_open_to_no_key_but_their_own(outside: Live, path: str) -> None:
    """And never to a key whose scope is another's: the SMS stream wants `sms:read`."""
    for query in ("", "?token=", "?token=tk_test_nobody", "?token=%00"):
        answer = outside.ask(Client(outside.api.session, outside.url, ""), "GET", path + query)
        assert (answer.status, answer.error["code"]) == (401, "unauthorized")
    wanted = next(iter(DOCUMENT["paths"][path]["get"]["security"][0].values()))
    if wanted:
        weak = outside.client([each for each in SCOPES if each not in {*wanted, "*"}])
        assert outside.ask(weak, "GET", path).status == 403


@pytest.fixture(scope="module")
def today(servers: Servers, template: str) -> Iterator[Live]:
    """At wall time, which live keys want."""
    with served(servers, template, None) as running:
        yield running


def test_live_and_test_keys_of_an_account_reach_different_carriers(today: Live) -> None:
    """A live key never falls back to the simulated network, and a test key never leaves it."""
    for_tests = today.client(numbers=[DID])
    live = today.client(account_id=for_tests.account_id, is_live=True)
    for method, path, body in (
        ("POST", "/api/campaigns", {"name": "x"}),
        ("POST", "/api/dids/purchase", {"numbers": ["+19495550100"]}),
        ("GET", "/api/dids/search", None),
    ):
        refused = today.ask(live, method, path, body)
        assert (refused.status, list(refused.error["fields"])) == (400, ["carrier"]), (path, refused.text)
        assert today.ask(for_tests, method, path, body).status in (200, 201, 202)
    with psycopg.connect(today.api.runtime.settings.sqlalchemy_url.replace("+psycopg", "")) as conn:
        assert conn.execute("select distinct carrier, is_live from campaigns").fetchall() == [
            ("simulated-command", False)
        ]


def test_a_key_makes_keys_of_its_own_kind_only(today: Live) -> None:
    for is_live, prefix in ((False, "tk_test_"), (True, "tk_live_")):
        made = today.ask(today.client(is_live=is_live), "POST", "/api/keys", {"name": "x", "scopes": ["*"]})
        assert made.json["key"].startswith(prefix)
