"""The contract suite: what every carrier owes the engine, run over both shapes of the simulated one.

A real carrier's adapter joins by adding its name and a stage that plays its side (see engine/carriers/README.md).
"""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from engine.carriers.http import HttpOptions
from engine.carriers.port import (
    AgentKind,
    AgentTarget,
    Amd,
    CallRef,
    CarrierEvent,
    Channel,
    Command,
    CommandKind,
    EndReason,
    EventKind,
    Fault,
    LookupState,
    Outcome,
    PlaceCall,
    SendMessage,
)
from tests.carriers.conftest import Stage, fresh_ticket, open_stage, serve, stage_config

HANDOFF = Command(CommandKind.HANDOFF, 1, agent=AgentTarget(AgentKind.SIP, "sip:agent@agents.example"))
HANGUP = Command(CommandKind.HANGUP, 9)
VERDICTS = {"07": Amd.FAX, "08": Amd.UNKNOWN, "09": Amd.SILENCE, "10": Amd.SCREENING}
ENDS = {
    "02": EndReason.NO_ANSWER,
    "03": EndReason.BUSY,
    "04": EndReason.FAILED,
    "06": EndReason.INVALID_NUMBER,
}


def both(stage: Stage, last_two: str) -> list[tuple[Channel, PlaceCall | SendMessage]]:
    return [(Channel.VOICE, stage.call(last_two)), (Channel.SMS, stage.message(last_two))]


# ── creates ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_accepted_create_has_the_carriers_id_and_is_logged_before_the_answer(stage: Stage) -> None:
    for channel, request in (*both(stage, "00"), *both(stage, "20")):
        before = time.time()
        receipt = await stage.create(request)
        assert receipt.outcome is Outcome.ACCEPTED
        line = stage.log("create")[-1]
        assert (line["ref"], line["accepted"], line["channel"]) == (request.ref, True, channel)
        assert line["carrier_id"] == receipt.carrier_id != ""
        assert before <= line["at"] <= time.time()


async def test_a_message_and_its_media_arrive_as_they_were_sent(stage: Stage) -> None:
    urls = ("https://example.com/a.jpg?x=1&y=2", "https://example.com/b.png")
    for media_urls in ((), urls):
        message = stage.message()._replace(media_urls=media_urls)
        assert (await stage.create(message)).outcome is Outcome.ACCEPTED
        line = stage.log("create")[-1]
        assert (line["text"], line["media"]) == ("Grüße & hello", list(media_urls))
    assert await stage.create(stage.call("00"))
    assert "text" not in stage.log("create")[-1]


def test_every_carrier_says_what_a_message_may_hold(stage: Stage) -> None:
    assert stage.carrier.caps.most_segments >= 1
    assert 0 <= stage.carrier.caps.most_media <= 10


async def test_an_invalid_number_is_rejected_for_good(stage: Stage) -> None:
    for request in (*(r for _, r in both(stage, "05")), stage.call(to="+1")):
        receipt = await stage.create(request)
        assert receipt.outcome is Outcome.REJECTED
        assert receipt.error is not None
        assert (receipt.error.fault, receipt.error.retryable) == (Fault.INVALID_NUMBER, False)


async def test_429_slows_the_lane(stage: Stage) -> None:
    for _, request in both(stage, "30"):
        receipt = await stage.create(request)
        assert receipt.outcome is Outcome.REJECTED
        assert receipt.error is not None
        assert (receipt.error.fault, receipt.error.retry_after_s) == (Fault.RATE_LIMITED, 1.0)


@pytest.mark.parametrize("last_two", ["31", "32"])
async def test_a_create_that_was_accepted_and_then_broke_is_unknown_and_then_found(stage: Stage, last_two: str) -> None:
    for channel, request in both(stage, last_two):
        receipt = await stage.create(request)
        assert receipt.outcome is Outcome.UNKNOWN
        found = await stage.carrier.lookup(request.ref, channel)
        assert found.state is LookupState.FOUND
        accepted = [line["carrier_id"] for line in stage.log("create") if line["ref"] == request.ref]
        assert [found.carrier_id] == accepted


async def test_a_create_that_hangs_times_out_as_unknown(carrier_name: str, tmp_path: Path) -> None:
    options = HttpOptions(total_timeout_s=0.3)
    async with open_stage(carrier_name, tmp_path / "log", stage_config(), options) as stage:
        call = stage.call("33")
        receipt = await stage.create(call)
        assert receipt.outcome is Outcome.UNKNOWN
        assert receipt.error is not None
        assert receipt.error.code == "timeout"
        assert (await stage.carrier.lookup(call.ref, Channel.VOICE)).state is LookupState.FOUND


async def test_a_create_dropped_before_it_was_accepted_is_unknown_and_then_absent(stage: Stage) -> None:
    for channel, request in both(stage, "34"):
        assert (await stage.create(request)).outcome is Outcome.UNKNOWN
        assert (await stage.carrier.lookup(request.ref, channel)).state is LookupState.ABSENT


async def test_a_redirect_is_not_followed(stage: Stage) -> None:
    for _, request in both(stage, "35"):
        assert (await stage.create(request)).outcome is Outcome.UNKNOWN
        assert len([line for line in stage.log("create") if line["ref"] == request.ref]) == 1


async def test_nobody_listening_means_not_sent(stage: Stage, carrier_name: str, tmp_path: Path) -> None:
    async with open_stage(carrier_name, tmp_path / "gone", stage_config()) as gone:
        call = gone.call()
        carrier = gone.carrier
        await gone.network.exchange.close()
    receipt = await carrier.place_call(call, fresh_ticket())
    assert receipt.outcome is Outcome.NOT_SENT
    assert receipt.error is not None
    assert (receipt.error.fault, receipt.error.code) == (Fault.TRANSIENT, "connect_failed")
    await carrier.close()


async def test_an_expired_ticket_sends_nothing(stage: Stage) -> None:
    receipt = await stage.carrier.place_call(stage.call(), fresh_ticket(-0.001))
    assert receipt.outcome is Outcome.NOT_SENT
    assert receipt.error is not None
    assert receipt.error.code == "ticket_expired"
    assert stage.log("create") == []


async def test_a_second_create_of_one_ref_is_a_second_call(stage: Stage) -> None:
    """The network judges P2: it must not hide what the engine did wrong."""
    call = stage.call("03")
    first, second = await stage.create(call), await stage.create(call)
    assert first.carrier_id != second.carrier_id
    assert [line["accepted"] for line in stage.log("create")] == [True, True]


async def test_an_account_that_the_carrier_does_not_know_is_refused(carrier_name: str, tmp_path: Path) -> None:
    config = stage_config(accounts=({"id": "sim", "secret": "another", "signing_secret": "another"},))
    async with open_stage(carrier_name, tmp_path / "log", config) as stage:
        call = stage.call()
        receipt = await stage.create(call)
        assert receipt.error is not None
        assert (receipt.outcome, receipt.error.fault) == (Outcome.REJECTED, Fault.AUTH)
        assert (await stage.carrier.lookup(call.ref, Channel.VOICE)).state is LookupState.STILL_UNKNOWN
        assert not (await stage.carrier.command(CallRef(call.ref, "CAx"), HANGUP)).ok
        assert stage.log("create") == []


# ── histories ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_person_talks_with_the_agent(stage: Stage) -> None:
    stage.plan = lambda event: HANDOFF if event.kind is EventKind.ANSWERED else None
    call = stage.call("00")
    receipt = await stage.create(call)
    history = await stage.until_ended(call.ref)
    kinds = [event.kind for event in history]
    assert kinds[:2] == [EventKind.RINGING, EventKind.ANSWERED]
    assert set(kinds[2:-1]) == {EventKind.AMD, EventKind.GREETING_ENDED, EventKind.AGENT_BRIDGED}
    assert [event.amd for event in history if event.kind is EventKind.AMD] == [Amd.HUMAN]
    assert (history[-1].end, history[-1].carrier_id) == (EndReason.COMPLETED, receipt.carrier_id)
    assert history[-1].duration_s is not None
    assert 14 <= history[-1].duration_s <= 30  # 15 to 20 simulated seconds of talk and some greeting


async def test_a_machine_gets_the_voicemail_after_the_beep(stage: Stage) -> None:
    fetched = []

    async def audio(request: web.Request) -> web.Response:
        fetched.append(request.path)
        return web.Response(body=b"RIFF" + bytes(1000), content_type="audio/wav")

    async with serve([web.get("/voicemail.wav", audio)]) as base_url:
        steps = {
            None: HANDOFF,
            Amd.MACHINE: Command(CommandKind.DETACH, 2),
            Amd.MACHINE_READY: Command(CommandKind.PLAY, 3, audio_url=f"{base_url}/voicemail.wav"),
        }
        relevant = (EventKind.ANSWERED, EventKind.AMD)
        stage.plan = lambda event: steps[event.amd] if event.kind in relevant else None
        call = stage.call("01")
        await stage.create(call)
        history = await stage.until_ended(call.ref)
    verdicts = [event.amd for event in history if event.kind is EventKind.AMD]
    assert verdicts == [Amd.MACHINE, Amd.MACHINE_READY]
    assert history[-2].kind is EventKind.PLAYBACK_DONE
    assert fetched == ["/voicemail.wav"]
    (line,) = stage.log("audio_fetch")
    assert (line["ref"], line["status"], line["bytes"]) == (call.ref, 200, 1004)


async def test_a_missing_voicemail_ends_the_playback_all_the_same(stage: Stage) -> None:
    play = Command(CommandKind.PLAY, 1, audio_url=stage.callback_url.replace("/callbacks/sim", "/none.wav"))
    stage.plan = lambda event: play if event.kind is EventKind.ANSWERED else None
    call = stage.call("00", amd=False)
    await stage.create(call)
    history = await stage.until_ended(call.ref)
    assert EventKind.PLAYBACK_DONE in [event.kind for event in history]
    assert stage.log("audio_fetch")[0]["status"] == 404


@pytest.mark.parametrize("last_two", ENDS)
async def test_a_call_that_nobody_takes(stage: Stage, last_two: str) -> None:
    call = stage.call(last_two)
    await stage.create(call)
    history = await stage.until_ended(call.ref)
    assert (history[-1].end, history[-1].duration_s) == (ENDS[last_two], 0)
    assert EventKind.ANSWERED not in [event.kind for event in history]


@pytest.mark.parametrize("last_two", VERDICTS)
async def test_every_other_verdict(stage: Stage, last_two: str) -> None:
    call = stage.call(last_two)
    stage.plan = lambda event: HANGUP if event.amd is VERDICTS[last_two] else None
    await stage.create(call)
    history = await stage.until_ended(call.ref)
    assert [event.amd for event in history if event.amd] == [VERDICTS[last_two]]


async def test_no_verdict_without_amd(stage: Stage) -> None:
    call = stage.call("00", amd=False)
    await stage.create(call)
    history = await stage.until_ended(call.ref)  # nobody speaks, so the person hangs up
    assert not [event for event in history if event.kind is EventKind.AMD]


async def test_an_agent_that_refuses_leaves_the_line_to_the_engine(stage: Stage) -> None:
    refusing = replace(HANDOFF, agent=AgentTarget(AgentKind.SIP, "sip:refuse@agents.example"))
    sorry = Command(CommandKind.PLAY, 2, text="This is Example Company, 800 555 0199. Goodbye.")
    plans = {EventKind.ANSWERED: refusing}
    stage.plan = lambda event: plans.get(event.kind)
    call = stage.call("00", amd=False)
    receipt = await stage.create(call)
    await stage.until(lambda: EventKind.AGENT_FAILED in [event.kind for event in stage.of(call.ref)])
    assert (await stage.carrier.command(CallRef(call.ref, receipt.carrier_id), sorry)).ok
    history = await stage.until_ended(call.ref)
    assert history[-2].kind is EventKind.PLAYBACK_DONE


@pytest.mark.parametrize(
    ("last_two", "kind", "fault", "retryable"),
    [
        ("20", EventKind.SMS_DELIVERED, None, None),
        ("21", EventKind.SMS_FAILED, Fault.UNREACHABLE, False),
        ("22", EventKind.SMS_FAILED, Fault.TRANSIENT, True),
        ("24", EventKind.SMS_FAILED, Fault.OPTED_OUT, False),
    ],
)
async def test_a_text_is_sent_and_reported(
    stage: Stage, last_two: str, kind: EventKind, fault: Fault | None, retryable: bool | None
) -> None:
    message = stage.message(last_two)
    await stage.create(message)
    await stage.until(lambda: len(stage.of(message.ref)) == 2)
    sent, final = stage.of(message.ref)
    assert (sent.kind, final.kind) == (EventKind.SMS_SENT, kind)
    assert (final.error and final.error.fault, final.error and final.error.retryable) == (fault, retryable)


async def test_nothing_leaves_the_carriers_queue_after_its_time(carrier_name: str, tmp_path: Path) -> None:
    """It is reported as failed for a passing reason: nobody was reached, and another window may do."""
    slow = {"setup_s": (3600, 3600), "sms_sent_s": (3600, 3600)}
    async with open_stage(carrier_name, tmp_path / "log", stage_config(latency=slow)) as stage:
        until = datetime.now(UTC) + timedelta(seconds=1.3)
        call, text = stage.call("00", not_after=until), stage.message("20")._replace(not_after=until)
        await stage.carrier.place_call(call, fresh_ticket(0.2))
        await stage.carrier.send_message(text, fresh_ticket(0.2))
        ended = await stage.until_ended(call.ref)
        await stage.until(lambda: bool(stage.of(text.ref)))
        failed = stage.of(text.ref)
    assert [(event.kind, event.end) for event in ended] == [(EventKind.CALL_ENDED, EndReason.EXPIRED)]
    assert [(event.kind, event.error and event.error.text) for event in failed] == [(EventKind.SMS_FAILED, "expired")]
    assert failed[0].error is not None
    assert (failed[0].error.fault, failed[0].error.retryable) == (Fault.TRANSIENT, True)
    assert all(event.occurred_at.timestamp() <= until.timestamp() + 0.5 for event in (*ended, *failed))


async def test_what_is_in_time_is_carried_out_and_its_validity_is_on_record(stage: Stage) -> None:
    until = datetime.now(UTC) + timedelta(seconds=60)
    call, text = stage.call("03", not_after=until), stage.message("20")._replace(not_after=until)
    await stage.create(call)
    await stage.create(text)
    assert (await stage.until_ended(call.ref))[-1].end is EndReason.BUSY
    await stage.until(lambda: len(stage.of(text.ref)) == 2)
    assert stage.of(text.ref)[-1].kind is EventKind.SMS_DELIVERED
    for line in stage.log("create"):
        assert until.timestamp() - 4 < line["not_after"] <= until.timestamp() + 0.01


async def test_a_look_up_replays_the_history_under_the_same_keys(stage: Stage) -> None:
    for channel, request in ((Channel.VOICE, stage.call("03")), (Channel.SMS, stage.message("20"))):
        await stage.create(request)
        count = 1 if channel is Channel.VOICE else 2
        await stage.until(lambda ref=request.ref, n=count: len(stage.of(ref)) == n)  # type: ignore[misc]
        replayed = (await stage.carrier.lookup(request.ref, channel)).events
        assert [_facts(event) for event in replayed] == [_facts(event) for event in stage.of(request.ref)]


async def test_a_ref_travels_unharmed(stage: Stage) -> None:
    call = stage.call("03", ref="att:1/ü&x=%3A +?#")
    await stage.create(call)
    await stage.until_ended(call.ref)
    assert (await stage.carrier.lookup(call.ref, Channel.VOICE)).state is LookupState.FOUND


async def test_a_look_up_never_sees_another_channel(stage: Stage) -> None:
    call = stage.call("00")
    await stage.create(call)
    assert (await stage.carrier.lookup(call.ref, Channel.SMS)).state is LookupState.ABSENT


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _answered(stage: Stage) -> CallRef:
    call = stage.call("00", amd=False)
    receipt = await stage.create(call)
    wait = Command(CommandKind.WAIT, 1)
    stage.plan = lambda event: wait if event.kind is EventKind.ANSWERED else None
    await stage.until(lambda: EventKind.ANSWERED in [event.kind for event in stage.of(call.ref)])
    return CallRef(call.ref, receipt.carrier_id)


@pytest.mark.parametrize("agent_kind", AgentKind)
async def test_every_command_works_on_a_live_call(stage: Stage, agent_kind: AgentKind) -> None:
    call = await _answered(stage)
    address = {AgentKind.WS_MEDIA: "ws://127.0.0.1:9/media"}.get(agent_kind, "sip:agent@agents.example")
    handoff = Command(CommandKind.HANDOFF, 2, agent=AgentTarget(agent_kind, address, {"k": '<&">'}, "t"))
    assert (await stage.carrier.command(call, handoff)).ok
    expected = EventKind.AGENT_FAILED if agent_kind is AgentKind.WS_MEDIA else EventKind.AGENT_BRIDGED
    await stage.until(lambda: expected in [event.kind for event in stage.of(call.ref)])
    assert (await stage.carrier.command(call, Command(CommandKind.DETACH, 3))).ok
    assert (await stage.carrier.command(call, Command(CommandKind.WAIT, 4))).ok
    assert (await stage.carrier.command(call, Command(CommandKind.PLAY, 5, text="a", then_hangup=False))).ok
    await stage.until(lambda: EventKind.PLAYBACK_DONE in [event.kind for event in stage.of(call.ref)])
    assert (await stage.carrier.command(call, HANGUP)).ok
    assert (await stage.until_ended(call.ref))[-1].end is EndReason.COMPLETED


async def test_a_repeated_command_is_carried_out_once(stage: Stage) -> None:
    call = await _answered(stage)
    play = Command(CommandKind.PLAY, 2, text="a", then_hangup=False)
    assert (await stage.carrier.command(call, play)).ok
    assert (await stage.carrier.command(call, play)).ok
    await stage.carrier.command(call, HANGUP)
    await stage.until_ended(call.ref)
    assert [line["is_new"] for line in stage.log("command")] == [True, False, True]


async def test_hanging_up_before_the_answer_cancels(stage: Stage) -> None:
    call = stage.call("02")
    receipt = await stage.create(call)
    assert (await stage.carrier.command(CallRef(call.ref, receipt.carrier_id), HANGUP)).ok
    assert (await stage.until_ended(call.ref))[-1].end is EndReason.CANCELED


async def test_a_command_to_a_call_that_is_over_says_gone(stage: Stage) -> None:
    call = stage.call("03")
    receipt = await stage.create(call)
    await stage.until_ended(call.ref)
    ack = await stage.carrier.command(CallRef(call.ref, receipt.carrier_id), HANDOFF)
    assert (ack.ok, ack.gone) == (False, True)


async def test_a_command_that_the_carrier_fails_may_be_sent_again(stage: Stage) -> None:
    call = stage.call("36")
    receipt = await stage.create(call)
    ack = await stage.carrier.command(CallRef(call.ref, receipt.carrier_id), HANGUP)
    assert ack.error is not None
    assert (ack.ok, ack.gone, ack.error.retryable) == (False, False, True)


def _facts(event: CarrierEvent) -> tuple[object, ...]:
    return event.kind, event.key, event.ref, event.carrier_id, event.occurred_at, event.end, event.error
