"""The network itself: the same seed tells the same story, the log outlives the process, the control API works."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pydantic
import pytest

from engine.carriers import catalog
from engine.carriers.http import HttpOptions
from engine.carriers.network import behaviour, document_shape
from engine.carriers.network.config import SMS_MIX, VOICE_MIX, Config, Faults, load
from engine.carriers.network.journal import Journal
from engine.carriers.port import Channel, EndReason, EventKind, LookupState, Outcome
from engine.embedded import lifeline
from tests.carriers.conftest import SETTINGS, Stage, fresh_ticket, open_stage, stage_config

TO = "+14155550177"


def test_the_same_seed_gives_the_same_history() -> None:
    one, again, other = Config(seed=1), Config(seed=1), Config(seed=2)
    refs = [f"att-{number}" for number in range(200)]
    assert [behaviour.voice(one, ref, TO) for ref in refs] == [behaviour.voice(again, ref, TO) for ref in refs]
    assert [behaviour.voice(one, ref, TO) for ref in refs] != [behaviour.voice(other, ref, TO) for ref in refs]


def test_the_mixes_are_kept() -> None:
    config, count = Config(), 20_000
    voice = Counter(behaviour.voice(config, f"att-{number}", TO).outcome for number in range(count))
    sms = Counter(behaviour.sms(config, f"att-{number}", TO)[0] for number in range(count))
    for mix, seen in ((VOICE_MIX, voice), (SMS_MIX, sms)):
        assert {name: seen[name] / count for name in mix} == pytest.approx(mix, abs=0.015)
        assert sum(mix.values()) == pytest.approx(1)


def test_durations_stay_in_their_range_and_speed_divides_them() -> None:
    scripts = [behaviour.voice(Config(speed=10), f"att-{number}", TO) for number in range(500)]
    assert all(0.4 <= script.ring_s <= 1.6 for script in scripts)
    slow = behaviour.voice(Config(), "att-1", TO)
    assert slow.talk_s == pytest.approx(10 * behaviour.voice(Config(speed=10), "att-1", TO).talk_s)


def test_faults_strike_at_their_rate_and_a_retry_draws_again() -> None:
    config, faults = Config(), Faults(rate_limit=0.2, drop_after_accept=0.1)
    seen = Counter(behaviour.create_fault(config, faults, f"att-{number}", 1, TO) for number in range(20_000))
    assert seen["rate_limit"] / 20_000 == pytest.approx(0.2, abs=0.015)
    assert seen["drop_after_accept"] / 20_000 == pytest.approx(0.08, abs=0.015)  # where the 429 did not come first
    assert {behaviour.create_fault(config, faults, "att-1", nth, TO) for nth in range(50)} > {"rate_limit", ""}


def test_every_magic_number_has_an_outcome_or_a_fault_that_exists() -> None:
    assert set(behaviour.MAGIC.values()) <= VOICE_MIX.keys() | SMS_MIX.keys()
    assert set(behaviour.MAGIC_FAULTS.values()) <= set(Faults.model_fields)
    assert not behaviour.MAGIC.keys() & behaviour.MAGIC_FAULTS.keys()


@pytest.mark.parametrize(
    "text",
    [
        '{"voice_mix": {"martian": 1}}',
        '{"voice_mix": {"human": 0}}',
        '{"speed": 0}',
        '{"faults": {"rate_limit": 2}}',
        '{"latency": {"ring_s": [5, 1]}}',
        '{"unheard_of": 1}',
    ],
)
def test_a_wrong_configuration_is_refused(text: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        load(text)


def test_a_configuration_comes_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text('{"seed": 7}')
    assert load(str(tmp_path / "network.json")).seed == 7


@pytest.mark.parametrize(
    "document",
    [
        b"<Response><Teleport/></Response>",
        b"<Other/>",
        b"<Response>",
        b"<Response><Connect/></Response>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Response/>',
    ],
)
def test_a_document_that_is_not_understood_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        document_shape.parse(document)


def test_the_journal_is_read_from_an_offset_and_never_half_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log")
    assert journal.read(0) == ([], 0)
    journal.write("create", ref="a")
    first, offset = journal.read(0)
    journal.write("create", ref="b")
    with (tmp_path / "log").open("ab") as torn:
        torn.write(b'{"type":"cre')
    second, end = journal.read(offset)
    assert ([line["ref"] for line in first], [line["ref"] for line in second]) == (["a"], ["b"])
    assert journal.read(end) == ([], end)
    journal.close()


async def test_what_was_accepted_before_a_crash_is_not_absent_after_it(carrier_name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with open_stage(carrier_name, log, stage_config()) as stage:
        busy, lost, text = stage.call("03"), stage.call("02"), stage.message("20")
        await stage.carrier.place_call(busy, fresh_ticket())
        await stage.until_ended(busy.ref)
        await stage.carrier.send_message(text, fresh_ticket())
        await stage.until_logged("sms_report")
        await stage.carrier.place_call(lost, fresh_ticket())
    async with open_stage(carrier_name, log, stage_config()) as stage:
        for ref, end in ((busy.ref, EndReason.BUSY), (lost.ref, EndReason.FAILED)):
            found = await stage.carrier.lookup(ref, Channel.VOICE)
            assert found.state is LookupState.FOUND
            assert found.events[-1].end is end
        found = await stage.carrier.lookup(text.ref, Channel.SMS)
        assert found.events[-1].kind is EventKind.SMS_DELIVERED


async def test_the_control_api(stage: Stage) -> None:
    base_url = stage.network.base_url
    async with aiohttp.ClientSession(base_url) as session:
        async with session.post("/control/faults", json={"rate_limit": 1}) as answer:
            assert (await answer.json())["rate_limit"] == 1
        receipt = await stage.carrier.place_call(stage.call("00"), fresh_ticket())
        assert receipt.outcome is Outcome.REJECTED
        for wrong in ({"rate_limit": 2}, {"gremlins": 1}, [1], "x"):
            async with session.post("/control/faults", json=wrong) as answer:
                assert answer.status == 400
        async with session.post("/control/reset") as answer:
            assert answer.status == 200
        assert (await stage.carrier.place_call(stage.call("00"), fresh_ticket())).outcome is Outcome.ACCEPTED
        async with session.get("/control/stats") as answer:
            assert (await answer.json())["counts"] == {"create_accepted": 1}
        async with session.get("/control/log", params={"since": "soon"}) as answer:
            assert answer.status == 400


async def test_malformed_creates_are_400_and_not_logged(stage: Stage) -> None:
    base_url = stage.network.base_url
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {SETTINGS['secret']}"}) as session:
        for body in (b"", b"[]", b"{}", b'{"to":"+14155550100"}'):
            async with session.post(f"{base_url}/command/v2/calls", data=body) as answer:
                assert answer.status == 400
    assert stage.log("create") == []


class Process:
    """One of ours as the supervisor starts it: a pipe for readiness, a pipe whose end it must not survive."""

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        ready_read, ready_write = os.pipe()
        lifeline_read, self.lifeline = os.pipe()
        descriptors = {lifeline.READY_FD: str(ready_write), lifeline.LIFELINE_FD: str(lifeline_read)}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            pass_fds=(ready_write, lifeline_read),
            env={**os.environ, **environment, **descriptors},
        )
        os.close(ready_write)
        os.close(lifeline_read)
        with os.fdopen(ready_read) as ready:
            self.facts: dict[str, Any] = orjson.loads(ready.readline())

    def end_by_lifeline(self) -> int:
        os.close(self.lifeline)
        return self.popen.wait(10)


async def test_the_real_processes(carrier_name: str, tmp_path: Path) -> None:
    log = tmp_path / "network.jsonl"
    config = stage_config().model_dump_json()
    network = Process("engine.carriers.network", "--log", str(log), "--seed", "7", "--config", config)
    agent = Process(
        "engine.carriers.agent", "--log", str(tmp_path / "agent.jsonl"), CARILLON_AGENT_SECRET="agent-secret"
    )
    try:
        settings = {**SETTINGS, "base_url": f"http://127.0.0.1:{network.facts['port']}"}
        carrier = catalog.build(carrier_name, settings, HttpOptions())
        async with open_stage(carrier_name, tmp_path / "other", stage_config()) as stage:
            call = stage.call("03")
            assert (await carrier.place_call(call, fresh_ticket())).outcome is Outcome.ACCEPTED
            await stage.until_ended(call.ref)
        await carrier.close()
        assert str(agent.facts["url"]).startswith("ws://")
    finally:
        codes = [process.end_by_lifeline() for process in (network, agent)]
    assert codes == [0, 0]
    assert [orjson.loads(line)["ref"] for line in log.read_bytes().splitlines() if b'"create"' in line] == [call.ref]


def test_the_agent_does_not_start_without_its_secret(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CARILLON_AGENT_SECRET"}
    command = [sys.executable, "-m", "engine.carriers.agent", "--log", str(tmp_path / "log")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "CARILLON_AGENT_SECRET" in ended.stderr
