"""The contract suite, third part: texts, media files and calls that come in."""

import base64
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from engine.carriers.port import (
    BadSignature,
    CallStage,
    Command,
    CommandKind,
    InboundCall,
    InboundMessage,
    Media,
    Shape,
)
from tests.carriers.conftest import SENDER, Stage, number, open_stage, stage_config

PERSON = number("77")
SORRY = Command(CommandKind.PLAY, 1, text="Nobody takes calls here.")


async def message(stage: Stage, **changes: object) -> InboundMessage:
    """Sends one in and returns it as it was read."""
    count = len(stage.inbound)
    carrier_id = await stage.comes_in(**changes)
    await stage.until(lambda: len(stage.inbound) > count)
    read = stage.inbound[-1]
    assert isinstance(read, InboundMessage)
    assert read.carrier_id == carrier_id
    return read


@pytest.mark.parametrize(
    "text", ["Hello", "", "STOP", 'Grüße & <b>+=%26</b> 👋🏽 "', "l'été\r\nzwei\tZeilen", "x" * 1_600]
)
async def test_a_text_arrives_as_it_was_written(stage: Stage, text: str) -> None:
    before = time.time()
    read = await message(stage, text=text)
    assert (read.text, read.from_, read.to, read.media) == (text, PERSON, SENDER, ())
    assert before <= read.occurred_at.timestamp() <= time.time()
    assert read.raw


async def test_an_mms_names_its_files_and_the_network_serves_them(stage: Stage) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    files = [
        {"content_type": "image/png", "data": base64.b64encode(picture).decode()},
        {"content_type": "audio/ogg", "url": "http://elsewhere.example/voice.ogg"},
    ]
    read = await message(stage, text="look", media=files)
    assert read.media[1] == Media("http://elsewhere.example/voice.ogg", "audio/ogg")
    async with aiohttp.ClientSession() as session, session.get(read.media[0].url) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", picture)
    async with aiohttp.ClientSession() as session, session.get(f"{read.media[0].url}0") as answer:
        assert answer.status == 404


async def test_keys_and_ids_tell_messages_apart_and_repeats_together(stage: Stage) -> None:
    first, second = await message(stage, text="a"), await message(stage, text="a")
    assert first.key != second.key
    assert first.carrier_id != second.carrier_id
    again = await message(stage, text="a", id=first.carrier_id)
    assert (again.key, again.carrier_id) == (first.key, first.carrier_id)


async def test_a_forged_text_is_refused(stage: Stage) -> None:
    await message(stage, text="STOP")
    genuine = stage.requests[0]
    for forged in (
        replace(genuine, body=genuine.body.replace(b"STOP", b"STOQ")),
        replace(genuine, headers={}),
    ):
        with pytest.raises(BadSignature):
            stage.carrier.read(forged, time.time())
    with pytest.raises(BadSignature, match="too old"):
        stage.carrier.read(genuine, time.time() + 301)


async def test_a_text_is_sent_again_until_it_is_taken(stage: Stage) -> None:
    stage.answer_status = 503
    carrier_id = await stage.comes_in(text="Hello")
    await stage.until(lambda: len(stage.requests) >= 2)
    stage.answer_status = 200
    await stage.until(lambda: bool(stage.inbound))
    assert [read.carrier_id for read in stage.inbound] == [carrier_id]


async def test_what_a_text_is_answered_with(stage: Stage) -> None:
    await message(stage, text="Hello")
    reply = stage.carrier.reply(stage.requests[0], None)
    is_document = stage.carrier.caps.shape is Shape.DOCUMENT
    assert (reply.status, b"<Response/>" in reply.body) == (200, is_document)


async def test_a_call_rings_until_its_caller_gives_up(stage: Stage) -> None:
    carrier_id = await stage.comes_in(channel="voice")
    await stage.until(lambda: len(stage.inbound) == 2)
    calls = [read for read in stage.inbound if isinstance(read, InboundCall)]
    assert [(call.stage, call.duration_s) for call in calls] == [(CallStage.STARTED, None), (CallStage.ENDED, 0)]
    assert {(call.carrier_id, call.from_, call.to) for call in calls} == {(carrier_id, PERSON, SENDER)}
    assert len({call.key for call in calls}) == 2


async def test_a_document_is_what_a_caller_hears(tmp_path: Path) -> None:
    config = stage_config()
    patient = config.latency.model_copy(update={"ring_s": (500.0, 500.0)})  # whom a busy machine answers late
    config = config.model_copy(update={"latency": patient})
    async with open_stage("simulated-document", tmp_path / "log", config) as stage:
        stage.plan = lambda read: SORRY if isinstance(read, InboundCall) and read.stage is CallStage.STARTED else None
        await stage.comes_in(channel="voice")
        await stage.until(lambda: len(stage.inbound) == 3)
        stages = [read.stage for read in stage.inbound if isinstance(read, InboundCall)]
        assert stages == [CallStage.STARTED, CallStage.ANSWERED, CallStage.ENDED]
        assert stage.log("document")[0]["verbs"] == ["Say", "Hangup"]
        ended = stage.inbound[-1]
        assert isinstance(ended, InboundCall)
        spoken_s = len(SORRY.text) / 15
        assert spoken_s - 2 <= ended.duration_s <= spoken_s + 60  # real time, sped up: a busy machine speaks slowly


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "JSON"),
        (b'{"from": "+1", "to": "+1"}', "url"),
        (b'{"from": "+1", "to": "+1", "url": "http://x", "account": "nobody"}', "nobody"),
        (b'{"from": "+1", "to": "+1", "url": "http://x", "media": [{"content_type": "a/b", "data": "?"}]}', "base64"),
    ],
)
async def test_the_control_api_says_what_is_wrong(stage: Stage, body: bytes, complaint: str) -> None:
    async with (
        aiohttp.ClientSession(stage.network.base_url) as session,
        session.post("/control/inbound", data=body) as answer,
    ):
        assert answer.status == 400
        assert complaint in await answer.text()
