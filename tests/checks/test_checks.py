import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from api_min.cli.chaos.figures import Span
from api_min.cli.chaos.judgement import frozen_apart
from engine.checks.evidence import Create, Evidence
from engine.checks.report import CHECKS, Check, run_checks
from engine.clock import Clock
from engine.store.campaigns import Campaign
from tests.checks.conftest import DONE, LATER, WAITING, Sql, put_events

_BY_NAME = {check.name: check for check in CHECKS}

_UP = f"with up as (update attempts set check_at = now() where phone = '{WAITING}') "
_STRICT = """update accounts set settings = '{"compliance"\\: {"require_registry"\\: true}}'"""
# What breaks a promise → the checker that must say so.
BREAKS = [
    ("update campaign_counts set queued = 2", "counts_add_up"),
    ("update campaign_counts set voicemail = 0", "counts_add_up"),
    ("update campaign_counts set queued = -1, dialing = 3", "counts_add_up"),
    ("update campaign_counts set dialing = 2, queued = 0", "counts_equal_rows"),
    ("update campaign_counts set retrying = 0", "counts_equal_rows"),
    ("update campaign_counts set voicemail = 0, busy = 1", "counts_equal_rows"),
    ("delete from campaign_counts", "counts_equal_rows"),
    (f"delete from prospects where phone = '{LATER}'", "counts_equal_rows"),
    ("update campaigns set status = 'completed'", "completed_have_no_open"),
    (f"update prospects set next_attempt_at = 'infinity' where phone = '{WAITING}'", "open_are_due"),
    (f"update prospects set next_attempt_at = now() where phone = '{DONE}'", "open_are_due"),
    ("update attempts set attempt = 3 where attempt = 2", "attempts_contiguous"),
    (f"delete from attempts where phone = '{DONE}' and attempt = 1", "attempts_contiguous"),
    (f"update attempts set state = 4 where phone = '{DONE}'", "attempts_contiguous"),
    (f"delete from attempts where phone = '{WAITING}'", "creates_were_intended"),
    (f"update attempts set phone = '+14155550999' where phone = '{WAITING}'", "creates_were_intended"),
    ("update campaigns set calls_per_second = 0.5", "call_rate"),
    (_UP + """update campaigns set mode = '{"concurrentCalls"\\: 0}'""", "calls_at_once"),
    (_UP + """update campaigns set mode = '{"agent"\\: {"capacity"\\: 0}}'""", "calls_at_once"),
    (_UP + """update accounts set settings = '{"limits"\\: {"concurrentCalls"\\: 0}}'""", "calls_at_once"),
    ("""update accounts set settings = '{"limits"\\: {"callsPerSecond"\\: 0.5}}'""", "carrier_rate"),
    (
        """with live as (update campaigns set is_live = true)
           update accounts set settings = '{"didPolicy"\\: {"perHour"\\: 3}}'""",
        "calls_per_number",
    ),
    (
        """with live as (update campaigns set is_live = true)
           update accounts set settings = '{"didPolicy"\\: {"perDay"\\: 3, "warming"\\: [2]}}'""",
        "calls_per_number",
    ),
    ("insert into did_reputation select id, 1, false, 1, '[]', now() from dids", "accounts_agree"),
    (
        f"insert into suppressions select account_id, '{WAITING}', 'stop', 'sms', '-infinity' from dids",
        "suppressed_left_alone",
    ),
    (f"update attempts set intent_at = intent_at - interval '12 h' where phone = '{DONE}'", "inside_window"),
    ("""update accounts set settings = '{"compliance"\\: {"frequencyCap"\\: {"max"\\: 1}}}'""", "attempts_capped"),
    ("""update campaigns set frequency_cap = '{"max"\\: 1, "per"\\: "1m"}'""", "attempts_capped"),
    (_STRICT.replace("registry", "consent"), "consent_given"),
    (
        f"""with strict as ({_STRICT.replace("registry", "consent")})
           insert into consents (account_id, phone, class, channel, source, given_at, recorded_at)
           select distinct account_id, phone, class, 'all', 'withdrawn, then on an old list',
                  timestamptz '2024-01-01', timestamptz '2025-01-01' from attempts, (values (0), (2)) as c(class)""",
        "consent_given",
    ),
    (
        f"""with strict as ({_STRICT}), used as (
               insert into registry_copies (registry, as_of, is_current, loaded_at)
               values ('US', '2026-03-01', true, '-infinity') returning id)
           insert into registry_blocks (block, copy_id, bits)
           select distinct substr(phone, 2, 7)\\:\\:bigint, used.id, decode(repeat('ff', 1250), 'hex')
             from used, attempts""",
        "registries_asked",
    ),
    (
        f"""with strict as ({_STRICT}), used as (
               insert into registry_copies (registry, as_of, is_current, loaded_at)
               values ('US', '2026-03-01', true, '-infinity') returning id)
           insert into registry_blocks (block, copy_id, lines)
           select substr(phone, 2, 7)\\:\\:bigint, used.id, array_agg(distinct substr(phone, 9)\\:\\:smallint)
             from used, attempts group by 1, 2""",
        "registries_asked",
    ),
    ("""update campaigns set schedule = '{"days"\\: [7]}'""", "inside_window"),
    ("update attempts set phone = '+442079460018'", "inside_window"),
    ("update attempts set phone = '+18005550100'", "inside_window"),
    ("update attempts set phone = '+15045550100', intent_at = '2026-02-17 18\\:00Z'", "inside_window"),  # Mardi Gras
    (f"""update prospects set data = '{{"timezone"\\: "Asia/Tokyo"}}' where phone = '{DONE}'""", "inside_window"),
    ("update attempts set intent_at = intent_at - interval '2 s'", "creates_followed_intents"),
    ("delete from event_chunks where last = 1", "gapless"),
    ("delete from event_chunks where last = 2", "gapless"),
    ("delete from event_chunks where last = 4", "gapless"),
    (
        """insert into event_chunks select account_id, last, recorded_on + 1, first, body from event_chunks
            where last = 2""",
        "gapless",
    ),
    ("update event_chunks set body = body || chr(10) || '{}' where last = 2", "gapless"),
    ("update event_chunks set first = first - 1 where last = 2", "gapless"),
    ("update event_heads set seq = 9", "gapless"),
    ("update event_chunks set first = -first, last = -last", "causes_come_first"),
    ("delete from event_chunks where last = 1", "causes_come_first"),
    ("update prospects set account_id = 1", "accounts_agree"),
    ("update attempts set account_id = 1", "accounts_agree"),
    ("update attempts set did_id = 1", "accounts_agree"),
    ("update dids set line_id = 1", "accounts_agree"),
    ("insert into lines select 1, id, 'x', 2, null, '-infinity' from accounts", "accounts_agree"),
    ("insert into lines select 1, id, 'x', null, 2, '-infinity' from accounts", "accounts_agree"),
    ("insert into users select 1, id, 2, 'x', '-infinity' from accounts", "accounts_agree"),
    (
        """insert into api_keys (id, account_id, hash, prefix, name, scopes, rate_limit, is_live, user_id, created_at)
           select 1, id, '', '', '', '{}', 1, false, 2, '-infinity' from accounts""",
        "accounts_agree",
    ),
    ("delete from campaigns", "accounts_agree"),
    ("delete from accounts", "accounts_agree"),
]


async def test_the_window_is_judged_by_what_was_known(evidence: Evidence, sql: Sql) -> None:
    """By the campaign's purpose, and by a location that the account has verified."""
    check = _BY_NAME["inside_window"]
    await sql("update attempts set phone = '+15045550100', intent_at = '2026-02-17 18\\:00Z'")  # Mardi Gras
    await sql("update campaigns set purpose = 'informational'")
    assert await check.run(evidence) == []
    await sql("update campaigns set purpose = 'marketing'")
    problems = await check.run(evidence)
    assert "legal_hours US-LA (decided by rules t)" in problems[0]
    await sql("update attempts set phone = '+12125550100', intent_at = '2026-02-17 03\\:00Z'")  # 22:00 in New York
    await sql("""update prospects set data = '{"zip"\\: "90210", "location_verified"\\: "yes"}'""")
    assert await check.run(evidence) == []


async def test_a_campaign_that_keeps_every_promise(evidence: Evidence) -> None:
    results = await run_checks(evidence)
    assert [result.check for result in results] == list(CHECKS)
    assert {result.check.name: result.problems for result in results if not result.passed} == {}


@pytest.mark.parametrize(("statement", "name"), BREAKS, ids=[f"{name}-{n}" for n, (_, name) in enumerate(BREAKS)])
async def test_a_broken_promise_is_found(evidence: Evidence, sql: Sql, statement: str, name: str) -> None:
    await sql(statement)
    assert await _BY_NAME[name].run(evidence) != []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda creates: (*creates, creates[0]), "accepted_once"),
        (lambda creates: (*creates, replace(creates[0], ref="nonsense")), "creates_were_intended"),
        (lambda creates: (*creates, replace(creates[0], ref=creates[0].ref + "9")), "creates_were_intended"),
        (lambda creates: tuple(replace(each, at=creates[0].at) for each in creates * 2), "call_rate"),
        (lambda creates: tuple(replace(each, at=each.at + 3) for each in creates), "creates_followed_intents"),
    ],
)
async def test_a_carrier_that_saw_otherwise_is_believed(
    evidence: Evidence, change: Callable[[tuple[Create, ...]], tuple[Create, ...]], name: str
) -> None:
    assert evidence.creates is not None
    assert await _BY_NAME[name].run(replace(evidence, creates=change(evidence.creates))) != []


async def test_what_a_stop_of_its_process_made_late_is_counted_apart(evidence: Evidence) -> None:
    """SIGSTOP between the last look at the ticket and the write: nothing in the process can help it."""
    assert evidence.creates is not None
    late = replace(evidence, creates=tuple(replace(each, at=each.at + 6) for each in evidence.creates))
    found = {f"{each.check.promise} {each.check.name}": each.problems for each in await run_checks(late, ["P5"])}
    assert len(found["P5 creates_followed_intents"]) == 4
    found["P2 x"] = ["y"]
    assert late.creates is not None
    went_on = late.creates[1].at - 0.1
    before = Span(went_on - 5, went_on)
    for other in (Span(went_on - 3, went_on), Span(went_on - 7, went_on)):  # after its ticket, and before its intent
        assert await frozen_apart(late, found, [other]) == (found, 0)
    rest, frozen = await frozen_apart(late, found, [before])
    assert frozen == 1
    assert {each.partition(":")[0] for each in rest.pop("P5 creates_followed_intents")} == {
        create.ref for create in late.creates if create is not late.creates[1]
    }
    assert rest == {name: problems for name, problems in found.items() if name != "P5 creates_followed_intents"}


async def test_refused_creates_do_not_count(evidence: Evidence) -> None:
    assert evidence.creates is not None
    refused = tuple(replace(each, accepted=False) for each in evidence.creates * 50)
    results = await run_checks(replace(evidence, creates=evidence.creates + refused))
    assert all(result.passed for result in results)


async def test_without_a_log_its_checkers_are_skipped(evidence: Evidence) -> None:
    results = await run_checks(replace(evidence, creates=None))
    assert {result.check.name for result in results if result.skipped} == {c.name for c in CHECKS if c.needs_log}
    assert all(result.passed for result in results if not result.skipped)


async def test_one_promise_alone(evidence: Evidence) -> None:
    results = await run_checks(evidence, ["P7"])
    assert [result.check.name for result in results] == ["accounts_agree"]


async def test_a_cancelled_campaign_counts_its_queued_rows_as_cancelled(evidence: Evidence, sql: Sql) -> None:
    await sql("update campaigns set status = 'cancelled'")
    await sql("update campaign_counts set cancelled = 1, queued = 0, retrying = 0")
    assert all(result.passed for result in await run_checks(evidence, ["P1"]))


async def test_dropped_days_are_no_gap(evidence: Evidence, sql: Sql) -> None:
    await sql("delete from event_chunks where last < 3")
    await sql("update event_heads set kept_from = 3")
    assert all(result.passed for result in await run_checks(evidence, ["P6"]))


async def test_a_relay_at_work_is_waited_for(evidence: Evidence, sql: Sql) -> None:
    await sql("insert into outbox (account_id, count, body) values (1, 1, '{}')")
    drains = _BY_NAME["outbox_drains"].run
    (problem,) = await drains(replace(evidence, relay_s=0.05))
    assert problem == "1 rows have waited for more than 0.05 s: is the relay running?"
    draining = asyncio.ensure_future(drains(evidence))
    await sql("delete from outbox")
    assert await draining == []


async def test_calls_are_judged_one_by_one(evidence: Evidence, kept: Campaign, sql: Sql, clock: Clock) -> None:
    await put_events(sql, kept.account_id, clock, "voice.answered", "voice.initiated", tracking_id="call_2")
    (problem,) = await _BY_NAME["causes_come_first"].run(evidence)
    assert "call_2: voice.answered (event 5) before its cause (event 6)" in problem


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_checker_says_what_it_claims(check: Check) -> None:
    assert check.claim.endswith(".")
