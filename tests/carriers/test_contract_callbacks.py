"""The contract suite, second part: callbacks that are forged, doubled, late, lost or refused."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.carriers.port import (
    AgentKind,
    AgentTarget,
    BadSignature,
    CarrierEvent,
    Channel,
    Command,
    CommandKind,
    EventKind,
    Shape,
)
from tests.carriers.conftest import Stage, open_stage, stage_config

HANDOFF = Command(CommandKind.HANDOFF, 1, agent=AgentTarget(AgentKind.SIP, "sip:agent@agents.example"))


async def test_a_forged_or_replayed_callback_is_refused(stage: Stage) -> None:
    call = stage.call("03")
    await stage.create(call)
    await stage.until_ended(call.ref)
    genuine = stage.requests[0]
    now_s = time.time()
    forgeries = [
        replace(genuine, body=genuine.body + b"&x=1"),
        replace(genuine, body=b""),
        replace(genuine, headers={}),
        replace(genuine, headers=dict.fromkeys(genuine.headers, "0")),
        replace(genuine, headers={**genuine.headers, "x-sim-signature": "\xff"}),
    ]
    for forged in forgeries:
        with pytest.raises(BadSignature):
            stage.carrier.read(forged, now_s)
    for late in (301, -302):
        with pytest.raises(BadSignature, match="too old"):
            stage.carrier.read(genuine, now_s + late)
    assert stage.carrier.read(genuine, now_s + 290) == (stage.events[0],)


async def test_keys_are_unique_and_a_doubled_callback_repeats_its_key(stage: Stage) -> None:
    call = stage.call("40")
    await stage.create(call)
    ended = EventKind.CALL_ENDED
    await stage.until(lambda: len([e for e in stage.of(call.ref) if e.kind is ended]) == 2)
    await stage.until(lambda: len(stage.of(call.ref)) % 2 == 0)
    keys = [event.key for event in stage.of(call.ref)]
    reports = stage.network.exchange.find(stage.network.exchange.config.accounts[0], Channel.VOICE, call.ref)
    assert reports is not None
    assert len(set(keys)) == len(reports.reports)
    assert {key: keys.count(key) for key in keys} == dict.fromkeys(keys, 2)


async def test_a_callback_is_sent_again_until_it_is_taken(stage: Stage) -> None:
    stage.answer_status = 503
    call = stage.call("03")
    await stage.create(call)
    await stage.until(lambda: len(stage.requests) >= 2)
    stage.answer_status = 200
    history = await stage.until_ended(call.ref)
    assert [event.kind for event in history] == [EventKind.CALL_ENDED]
    lines = await stage.until_logged("callback", 3)
    assert [line["status"] for line in lines][:2] == [503, 503]
    assert lines[-1]["status"] == 200


async def test_a_lost_callback_is_in_the_look_up(stage: Stage) -> None:
    call = stage.call("42", ring_timeout_s=5)
    await stage.create(call)
    await stage.until_logged("end")
    assert stage.requests == []
    found = await stage.carrier.lookup(call.ref, Channel.VOICE)
    assert found.events[-1].kind is EventKind.CALL_ENDED


async def test_a_repeated_reply_is_the_same_document(stage: Stage) -> None:
    call = stage.call("03")
    await stage.create(call)
    await stage.until_ended(call.ref)
    request = stage.requests[0]
    first = stage.carrier.reply(request, HANDOFF)
    assert first == stage.carrier.reply(request, HANDOFF)
    assert bool(first.body) == (stage.carrier.caps.shape is Shape.DOCUMENT)
    assert stage.carrier.reply(request, None).body == b""


async def test_late_and_disordered_callbacks_keep_the_carriers_time(tmp_path: Path, carrier_name: str) -> None:
    faults = {"callback_disorder": 0.5, "callback_late": 0.2, "late_s": (0.1, 0.3), "disorder_s": (0.05, 0.2)}
    async with open_stage(carrier_name, tmp_path / "log", stage_config(faults=faults)) as stage:
        calls = [stage.call("00", amd=False) for _ in range(5)]
        await asyncio.gather(*(stage.create(call) for call in calls))
        histories = [await _complete(stage, call.ref, 4) for call in calls]
    expected = [EventKind.RINGING, EventKind.ANSWERED, EventKind.GREETING_ENDED, EventKind.CALL_ENDED]
    assert [[event.kind for event in history] for history in histories] == [expected] * 5


async def _complete(stage: Stage, ref: str, count: int) -> list[CarrierEvent]:
    await stage.until(lambda: len(stage.of(ref)) == count)
    return stage.of(ref)
