"""The network really calls a WebSocket agent, and the agent really checks who calls."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from engine.carriers import agent_token
from engine.carriers.agent import app as agent_app
from engine.carriers.network.journal import Journal
from engine.carriers.port import AgentKind, AgentTarget, Command, CommandKind, EventKind, PlaceCall
from tests.carriers.conftest import Stage, fresh_ticket, serve

SECRET = "agent-secret"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[agent_app.Running]:
    async with agent_app.running(SECRET, tmp_path / "agent.jsonl") as running:
        yield running


def read(path: Path) -> list[dict[str, object]]:
    journal = Journal(path)
    lines, _ = journal.read(0)
    journal.close()
    return lines


def handoff(url: str, ref: str, secret: str = SECRET, now_s: float | None = None) -> Command:
    token = agent_token.sign(secret, ref, 60, time.time() if now_s is None else now_s)
    target = AgentTarget(AgentKind.WS_MEDIA, url, {"campaign": "camp_1"}, token)
    return Command(CommandKind.HANDOFF, 1, agent=target)


async def converse(stage: Stage, command: Callable[[PlaceCall], Command]) -> PlaceCall:
    call = stage.call("00", amd=False)
    stage.plan = lambda event: command(call) if event.kind is EventKind.ANSWERED else None
    await stage.carrier.place_call(call, fresh_ticket())
    await stage.until_ended(call.ref)
    return call


async def test_the_network_and_the_agent_say_that_they_live(stage: Stage, agent: agent_app.Running) -> None:
    async with aiohttp.ClientSession() as session:
        for base_url in (stage.network.base_url, f"http://127.0.0.1:{agent.port}"):
            async with session.get(f"{base_url}/healthz") as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_a_whole_conversation(stage: Stage, agent: agent_app.Running, tmp_path: Path) -> None:
    call = await converse(stage, lambda call: handoff(agent.url, call.ref))
    assert EventKind.AGENT_BRIDGED in [event.kind for event in stage.of(call.ref)]
    (line,) = await stage.until_logged("agent")
    assert (line["ref"], line["bridged"]) == (call.ref, True)
    start, *_ = read(tmp_path / "agent.jsonl")
    assert (start["verified"], start["ref"], start["from"], start["to"]) == (True, call.ref, call.from_, call.to)


@pytest.mark.parametrize("fault", ["another secret", "another ref", "expired"])
async def test_a_stream_with_a_wrong_token_is_refused(
    stage: Stage, agent: agent_app.Running, tmp_path: Path, fault: str
) -> None:
    wrong = {
        "another secret": lambda call: handoff(agent.url, call.ref, secret="guess"),
        "another ref": lambda call: handoff(agent.url, "att-other"),
        "expired": lambda call: handoff(agent.url, call.ref, now_s=time.time() - 61),
    }
    call = await converse(stage, wrong[fault])
    (failed,) = [event for event in stage.of(call.ref) if event.kind is EventKind.AGENT_FAILED]
    assert "4401" in str(failed.raw)
    assert [line["verified"] for line in read(tmp_path / "agent.jsonl")] == [False]


async def test_an_agent_that_says_nothing_fails_in_time(stage: Stage) -> None:
    async def silent(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async with serve([web.get("/media", silent)]) as base_url:
        url = base_url.replace("http", "ws") + "/media"
        call = stage.call("00", amd=False, max_duration_s=6000)
        stage.plan = lambda event: handoff(url, call.ref) if event.kind is EventKind.ANSWERED else None
        # a patient person: the agent's timeout is real, the patience is simulated and sped up
        await stage.carrier.place_call(call, fresh_ticket())
        await stage.until_ended(call.ref)
    assert EventKind.AGENT_BRIDGED not in [event.kind for event in stage.of(call.ref)]


async def test_the_agent_hanging_up_ends_the_call(stage: Stage, tmp_path: Path) -> None:
    async with agent_app.running(SECRET, tmp_path / "brief.jsonl", hang_up_after_frames=2) as brief:
        call = await converse(stage, lambda call: handoff(brief.url, call.ref))
    assert stage.of(call.ref)[-1].kind is EventKind.CALL_ENDED
    assert [line["type"] for line in read(tmp_path / "brief.jsonl")] == ["session_start", "session_end"]


@pytest.mark.parametrize("opening", ["", "[1]", "{", '{"event":"start","start":[]}', '{"event":"start"}'])
async def test_the_agent_survives_nonsense(agent: agent_app.Running, tmp_path: Path, opening: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(agent.url) as socket:
        await socket.send_str(opening)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4401


def test_a_token_is_bound_to_its_ref_and_its_time() -> None:
    token = agent_token.sign(SECRET, "att.with.dots", 60, 1000.0)
    assert agent_token.verify(SECRET, token, "att.with.dots", 1060.0)
    assert not agent_token.verify(SECRET, token, "att.with.dots", 1061.0)
    assert not agent_token.verify(SECRET, token, "att", 1000.0)
    assert not agent_token.verify("other", token, "att.with.dots", 1000.0)
    for broken in ("", ".", "..", "é.é.é", token[:-1], token.replace("1060", "9999")):
        assert not agent_token.verify(SECRET, broken, "att.with.dots", 1000.0)
