"""Carriers' reports: verified, stored once, hinted once, answered after the commit."""

import asyncio
import base64
import time
from datetime import UTC, datetime
from urllib.parse import urlencode

import orjson
from redis.asyncio import Redis
from sqlalchemy import text

from engine.carriers import simulated_command, simulated_document
from engine.carriers.port import Amd, CarrierError, CarrierEvent, EndReason, EventKind, Fault
from engine.ids import attempt_ref
from engine.jobs import Queue
from engine.store import callbacks
from engine.store.callbacks import decode_event, encode_event
from tests.api.conftest import Serve
from tests.api.harness import Answer, Api, Client

COMMAND, DOCUMENT = "/carriers/simulated-command/callbacks", "/carriers/simulated-document/callbacks"
REF = attempt_ref(11, 22, 1)
NOW = datetime(2026, 3, 11, 18, 0, tzinfo=UTC)


def envelope(key: str, ref: str = REF, event_type: str = "call.ringing", **payload: object) -> bytes:
    return orjson.dumps(
        {
            "data": {
                "id": key,
                "event_type": event_type,
                "occurred_at": NOW.isoformat(),
                "payload": {"client_state": base64.b64encode(ref.encode()), "call_control_id": "c1", **payload},
            }
        },
        default=bytes.decode,
    )


async def report(api: Api, body: bytes, *, secret: str | None = None, at: float | None = None) -> Answer:
    signing = secret or api.runtime.settings.simulated_secret.get_secret_value()
    timestamp = str(int(time.time() if at is None else at))
    headers = {
        simulated_command.TIMESTAMP_HEADER: timestamp,
        simulated_command.SIGNATURE_HEADER: simulated_command.signature(signing, timestamp, body),
        "Authorization": None,
    }
    return await Client(api.session, api.url, "")("POST", COMMAND, data=body, headers=headers)


async def inbox(api: Api) -> list[tuple[str, int, bool]]:
    """(key, prospect, whether it is processed) of every row."""
    async with api.runtime.db.connect() as conn:
        rows = await conn.execute(
            text("select event_key, prospect_id, processed_at is not null from carrier_callbacks order by id")
        )
        return [tuple(row) for row in rows]


async def hints(queue: Redis) -> list[object]:
    messages = await queue.hvals(f"dramatiq:{Queue.SETTLE}.msgs")
    return [orjson.loads(message)["args"] for message in messages]


async def test_a_report_is_stored_and_hinted(api: Api, queue_redis: Redis) -> None:
    answer = await report(api, envelope("e1"))
    assert (answer.status, answer.text) == (200, "")
    assert await inbox(api) == [("e1", 22, False)]
    await api.held.inbox.close()  # the hint goes out beside the answer
    async with api.runtime.db.connect() as conn:
        stored = (await conn.execute(text("select id, event from carrier_callbacks"))).one()
    assert await hints(queue_redis) == [[[stored.id]]]
    event = decode_event(stored.event)
    assert (event.kind, event.ref, event.carrier_id, event.occurred_at) == (EventKind.RINGING, REF, "c1", NOW)
    assert event.raw["data"]["id"] == "e1"  # type: ignore[index]


async def test_a_repeat_changes_nothing(api: Api, queue_redis: Redis) -> None:
    for _ in range(3):
        assert (await report(api, envelope("e1"))).status == 200
    await api.held.inbox.close()
    assert len(await inbox(api)) == 1
    assert len(await hints(queue_redis)) == 1


async def test_a_forged_or_stale_report_leaves_no_trace(api: Api, queue_redis: Redis) -> None:
    forged = await report(api, envelope("e1"), secret="guess")
    stale = await report(api, envelope("e2"), at=time.time() - 3_600)
    unsigned = await (await api.client())("POST", COMMAND, data=envelope("e3"))
    for answer in (forged, stale, unsigned):
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
    assert await inbox(api) == []
    assert await hints(queue_redis) == []


async def test_an_unreadable_report_is_kept_and_accepted(api: Api, queue_redis: Redis) -> None:
    body = b'{"data": "no envelope \\u0000"}'
    for _ in range(2):
        assert (await report(api, body)).status == 200
    assert [row[1:] for row in await inbox(api)] == [(0, True)]
    assert await hints(queue_redis) == []


async def test_a_report_of_a_stranger_is_kept_and_settled(api: Api) -> None:
    assert (await report(api, envelope("e1", ref="not-ours"))).status == 200
    assert await inbox(api) == [("e1", 0, True)]


async def test_many_at_once_share_commits(api: Api, queue_redis: Redis) -> None:
    answers = await asyncio.gather(*(report(api, envelope(f"e{n % 150}")) for n in range(300)))
    assert {answer.status for answer in answers} == {200}
    assert len(await inbox(api)) == 150
    await api.held.inbox.close()
    hinted = [each for (ids,) in await hints(queue_redis) for each in ids]  # type: ignore[misc, has-type]
    assert len(hinted) == len(set(hinted)) == 150


async def test_an_unknown_carrier_and_a_huge_body(serve: Serve) -> None:
    api = await serve(max_body_bytes=1_000)
    client = await api.client()
    assert (await client("POST", "/carriers/nobody/callbacks", data=b"x")).error["code"] == "not_found"
    assert (await client("POST", COMMAND, data=b"x" * 2_000)).error["code"] == "too_large"
    wrong = await client("PUT", COMMAND, data=b"x")
    assert (wrong.status, wrong.error["code"], wrong.headers["Allow"]) == (405, "method_not_allowed", "GET, POST")


async def test_a_lost_hint_loses_no_report(serve: Serve) -> None:
    api = await serve(REDIS_QUEUE_URL="redis://127.0.0.1:1/1")
    assert (await report(api, envelope("e1"))).status == 200
    assert await inbox(api) == [("e1", 22, False)]


async def test_a_document_carrier_signs_the_public_url(serve: Serve, queue_redis: Redis) -> None:
    """Behind a proxy the carrier knows another host than we do; the signature is over the one that it knows."""
    api = await serve(public_url="https://calls.example.com")
    secret = api.runtime.settings.simulated_secret.get_secret_value()
    form = {
        "CallSid": "CA1",
        "SequenceNumber": "1",
        "CallbackEvent": "ringing",
        "CallStatus": "ringing",
        "Timestamp": NOW.isoformat(),
        "SignedAt": str(int(time.time())),
    }
    target = f"{DOCUMENT}?{urlencode({'att': REF})}"
    client = await api.client()
    for url, status in ((f"https://calls.example.com{target}", 200), (f"{api.url}{target}", 403)):
        headers = {
            simulated_document.SIGNATURE_HEADER: simulated_document.signature(secret, url, form),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        answer = await client("POST", target, data=urlencode(form), headers=headers)
        assert answer.status == status, answer.text
        if status == 200:
            assert answer.headers["Content-Type"].startswith("text/xml")
    assert await inbox(api) == [("CA1:1", 22, True)]  # settled before it was answered
    assert await hints(queue_redis) == []


async def test_events_survive_their_coding() -> None:
    event = CarrierEvent(
        kind=EventKind.CALL_ENDED,
        key="k",
        ref=REF,
        carrier_id="c",
        occurred_at=NOW,
        amd=Amd.MACHINE_READY,
        end=EndReason.BUSY,
        error=CarrierError(Fault.RATE_LIMITED, "429", "slow down", retryable=True, retry_after_s=1.5),
        duration_s=0,
        digit="#",
        raw={"nested": [{"a": 1}, None, "é"]},
    )
    bare = CarrierEvent(EventKind.UNRECOGNISED, "k", "", "", NOW)
    for each in (event, bare):
        assert decode_event(orjson.loads(orjson.dumps(encode_event(each)))) == each


async def test_what_postgresql_cannot_store_is_replaced(api: Api) -> None:
    event = CarrierEvent(EventKind.RINGING, "a\0b", REF, "c\0", NOW, raw={"x\0": ["\0", {"y": "\0"}]})
    async with api.runtime.db.begin() as conn:
        assert len(await callbacks.insert_many(conn, [callbacks.Report("simulated-command", event)])) == 1
    assert await inbox(api) == [("a\ufffdb", 22, False)]
