"""Plans are cached for as long as nobody analyses the tables. Whatever these looked like when a plan was made, it finds
each row by its whole key: else the first large campaign after a small one would read all of itself for every batch.
"""

import re

import psycopg
import pytest
from psycopg import Connection
from sqlalchemy import make_url, text

from engine.coordinator import claim, windows
from engine.dispatch import facts, held, intent, record, settle
from engine.dispatch.facts import AttemptKey
from engine.store import tickets
from engine.store.database import _KEYED, connect

STATEMENTS = {
    "claim": claim._CLAIM,
    "claim by id": claim._BY_ID,
    "put off": windows._PUT_OFF,
    "facts": intent._facts(15),
    "intent": intent._INSERT,
    "cancel": held._CANCEL,
    "postpone": held._POSTPONE,
    "callbacks": settle._OPEN_CALLBACKS,
    "lock": facts._LOCK,
    "read": facts._READ,
    "parameters": facts._PARAMETERS,
    "attempts": record._ATTEMPTS,
    "prospects": record._PROSPECTS,
    "still open": tickets._STILL_OPEN,
}
# Of the tables that grow: what a look-up must go by. `prospects` are claimed in the order in which they are due.
KEYS = {
    "prospects": {("campaign_id", "id"), ("campaign_id", "next_attempt_at")},
    "attempts": {("prospect_id", "attempt")},
    "suppressions": {("account_id", "phone")},
    "consents": {("phone",)},
    "person_contacts": {("account_id", "number")},
    "inbound_messages": {("account_id", "from_number")},
    "registry_blocks": {("block",)},
}
FILL = """
    insert into prospects (campaign_id, account_id, phone)
        select 5 + mod(n, 3), 7, '+1' || (2000000000 + n) from generate_series(1, :people) n;
    insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier, state,
                          intent_at, rules_version)
        select id, 1, campaign_id, 7, phone, 1, '+1', 'x', 9, now(), 'x' from prospects;
    insert into consents (account_id, phone, class, channel, source, given_at, recorded_at)
        select 7, phone, 1, 'all', 'form', now(), now() from prospects;
    insert into suppressions (account_id, phone, reason, source, created_at)
        select 7, phone, 'asked', 'import', now() from prospects;
    insert into person_contacts (account_id, number, at, is_live)
        select 7, substr(phone, 2)::bigint, now(), false from prospects;
"""
_SCAN = re.compile(r"Scan(?: Backward)?(?: using \S+)? on (\w+?)(?:_\d\d)?(?: \S+)?$")
_CONDITION = re.compile(r"Index Cond: (.*)$")


def generic_plan(connection: "Connection[tuple[str]]", statement: str) -> list[str]:
    """Of the statement with its parameters unknown, as a session keeps it."""
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    numbered_statement = re.sub(r"(?<![:\w]):(\w+)", numbered, statement)
    query = f"explain (generic_plan, costs off) {numbered_statement}".encode()
    return [line for (line,) in connection.execute(query, prepare=False)]


def badly_found(plan: list[str]) -> list[str]:
    """The scans of tables that grow which go by less than a key."""
    bad = []
    for number, line in enumerate(plan):
        scan = _SCAN.search(line)
        if scan is None or scan[1] not in KEYS or "Bitmap Index Scan" in line:
            continue
        below = next(
            (_CONDITION.search(later) for later in plan[number + 1 : number + 5] if "Index Cond" in later), None
        )
        condition = below[1] if below else ""
        if not any(all(re.search(rf"\b{name}\b", condition) for name in key) for key in KEYS[scan[1]]):
            bad.append(f"{line.strip()}: {condition}")
    return bad


@pytest.mark.parametrize("people", [0, 60, 3_000], ids=["no", "few", "many"])
def test_rows_are_found_by_their_keys(own_database_url: str, people: int) -> None:
    url = make_url(own_database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True, options=_KEYED) as connection:
        when_new = {name: badly_found(generic_plan(connection, each.text)) for name, each in STATEMENTS.items()}
        fill(connection, people)
        connection.execute("analyze")
        analysed = {name: badly_found(generic_plan(connection, each.text)) for name, each in STATEMENTS.items()}
    assert {name: bad for name, bad in when_new.items() if bad} == {}
    assert {name: bad for name, bad in analysed.items() if bad} == {}


async def test_a_statement_is_planned_once_and_not_for_each_batch(own_database_url: str) -> None:
    """Over 16 partitions each planning costs more than the statement itself."""
    engine = connect(own_database_url, pool_size=1, keyed=True)
    try:
        async with engine.connect() as conn:
            for prospect in range(8):
                await facts.read_attempts(conn, [AttemptKey(1, prospect, 1)] * (1 + 100 * (prospect % 2)))
            found = await conn.execute(text("select generic_plans, custom_plans from pg_prepared_statements"))
            assert tuple(found.first()) == (8, 0)
    finally:
        await engine.dispose()


def fill(connection: "Connection[tuple[str]]", people: int) -> None:
    """Of three campaigns, each called once, and on every list."""
    connection.execute(FILL.replace(":people", str(people)))


def test_a_scan_without_its_key_would_be_seen() -> None:
    assert badly_found(["->  Index Scan using prospects_00_pkey on prospects_00 p_1"]) != []
    assert badly_found(["->  Seq Scan on attempts_03 a", "      Filter: (id = 1)"]) != []
    seen = [
        "->  Index Scan using prospects_00_campaign_id_phone_one_off_key on prospects_00",
        "  Index Cond: (campaign_id = k.c)",
    ]
    assert badly_found(seen) != []
    assert (
        badly_found(
            [
                "->  Index Scan using prospects_00_pkey on prospects_00",
                "  Index Cond: ((campaign_id = 1) AND (id = k.id))",
            ]
        )
        == []
    )
