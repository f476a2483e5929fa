import json
import re

import pytest

from engine.errors import InvalidInput
from engine.rules.caller_id import Strategy
from engine.rules.campaign_config import (
    Agent,
    SmsMode,
    VoiceMode,
    missing_at_start,
    parse_agent,
    parse_campaign,
    parse_mode,
    parse_strategy,
)
from engine.rules.pacing import DEFAULT_TARGET, Pacing
from engine.rules.purpose import Purpose
from engine.rules.retry import Again, RetryRule
from engine.rules.schedule import Schedule

VOICE = {
    "name": "Q1 SoCal Outreach",
    "channel": "voice",
    "mode": {
        "ai": True,
        "voicemailAudioUrl": "https://example.com/vm.mp3",
        "calls_per_second": 10,
        "max_retries": 2,
        "retry_delay": "4h",
    },
    "callerIds": ["+19495551000", "+17145551000"],
    "callerIdStrategy": {"selection": "health_score", "local_presence": True},
    "schedule": {"timezone": "America/Los_Angeles", "startHour": 9, "endHour": 19, "days": [1, 2, 3, 4, 5]},
}
SMS = {
    "name": "March Follow-Up Texts",
    "channel": "sms",
    "mode": {"message": "Hi, following up on your inquiry. Reply YES to schedule a call."},
    "callerIds": ["949"],
    "schedule": {"timezone": "America/Los_Angeles"},
}


def test_the_voice_example_of_the_reference() -> None:
    config = parse_campaign(VOICE)
    assert config.mode == VoiceMode(
        ai=True,
        voicemail_audio_url="https://example.com/vm.mp3",
        calls_per_second=10,
        retry=RetryRule(2, 14_400),
    )
    assert config.strategy == Strategy("health_score", True)
    assert config.schedule == Schedule("America/Los_Angeles", 9, 19, frozenset({1, 2, 3, 4, 5}))
    assert config.caller_ids == ("+19495551000", "+17145551000")


def test_the_purpose() -> None:
    assert parse_campaign(VOICE).purpose is Purpose.MARKETING
    assert parse_campaign({**VOICE, "purpose": "emergency"}).purpose is Purpose.EMERGENCY
    with pytest.raises(InvalidInput, match="one of marketing, informational, emergency"):
        parse_campaign({**VOICE, "purpose": "Marketing"})


@pytest.mark.parametrize(
    ("mode", "is_automated"),
    [
        ({"agent": {"kind": "sip", "uri": "sip:desk@example.com"}}, False),
        ({"agent": {"kind": "number", "e164": "+14155550123"}, "calls_per_second": 5}, False),
        ({"agent": {"kind": "sip", "uri": "sip:bot@example.com"}, "ai": True}, True),
        ({"agent": {"kind": "sip", "uri": "sip:bot@example.com"}, "systemPrompt": "You are …"}, True),
        # Machines hear a recording, and some laws do not ask who listens.
        ({"agent": {"kind": "sip", "uri": "sip:desk@example.com"}, "voicemailAudioUrl": "https://example.com/a"}, True),
        ({"agent": {"kind": "ws_media", "url": "wss://example.com"}}, True),
        ({"agent": {"kind": "native", "id": "7"}}, True),
        ({}, True),  # the account's agent, whatever that will be
    ],
)
def test_only_people_alone_make_a_live_call(mode: dict[str, object], is_automated: bool) -> None:
    assert parse_mode("voice", mode).is_automated is is_automated
    assert parse_mode("sms", {"message": "Hi"}).is_automated


def test_the_sms_example_of_the_reference() -> None:
    config = parse_campaign(SMS)
    assert isinstance(config.mode, SmsMode)
    assert config.mode.message == SMS["mode"]["message"]  # type: ignore[index]
    assert config.caller_ids == ("949",)


@pytest.mark.parametrize("body", [VOICE, SMS, {"name": "x"}, {"name": "x", "mode": None, "schedule": None}])
def test_json_is_kept_as_it_was_sent(body: dict[str, object]) -> None:
    config = parse_campaign(body)
    assert json.dumps(config.to_json()) == json.dumps(body)
    assert parse_campaign(config.to_json()) == config
    assert config.mode.to_json() == body.get("mode")
    assert parse_mode(config.channel, config.mode.to_json()) == config.mode


def test_defaults() -> None:
    config = parse_campaign({"name": "x"})
    assert config.channel == "voice"
    assert config.mode == VoiceMode(calls_per_second=1, ring_timeout_s=25)
    assert config.mode.retry.max_retries == 0
    assert config.strategy == parse_strategy(None) == Strategy("health_score", False)


def voice(**mode: object) -> dict[str, object]:
    return {"name": "x", "mode": mode}


def agent(**target: object) -> dict[str, object]:
    return voice(agent=target)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": 7}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "x", "channel": "fax"}, "channel"),
        ({"name": "x", "colour": 1}, "colour"),
        ({"name": "x", "mode": []}, "mode"),
        (voice(ai="yes"), "mode.ai"),
        (voice(ai=1), "mode.ai"),
        (voice(voicemailAudioUrl="ftp://example.com/a.mp3"), "mode.voicemailAudioUrl"),
        (voice(voicemailAudioUrl="https://"), "mode.voicemailAudioUrl"),
        (voice(voicemailAudioUrl="https://[::1/a"), "mode.voicemailAudioUrl"),
        (voice(voicemailAudioUrl="https://a:x/"), "mode.voicemailAudioUrl"),
        (voice(voicemailAudioUrl="https://a b/"), "mode.voicemailAudioUrl"),
        (voice(voicemailAudioUrl=5), "mode.voicemailAudioUrl"),
        (voice(calls_per_second=0), "mode.calls_per_second"),
        (voice(calls_per_second=-1), "mode.calls_per_second"),
        (voice(calls_per_second=5e-324), "mode.calls_per_second"),
        (voice(calls_per_second=0.0009), "mode.calls_per_second"),
        (voice(calls_per_second=1001), "mode.calls_per_second"),
        (voice(calls_per_second=True), "mode.calls_per_second"),
        (voice(calls_per_second="10"), "mode.calls_per_second"),
        (voice(calls_per_second=float("nan")), "mode.calls_per_second"),
        (voice(calls_per_second=float("inf")), "mode.calls_per_second"),
        (voice(max_retries=-1), "mode.max_retries"),
        (voice(max_retries=11), "mode.max_retries"),
        (voice(max_retries=1.5), "mode.max_retries"),
        (voice(retry_delay="4 hours"), "mode.retry_delay"),
        (voice(retry_delay=4), "mode.retry_delay"),
        (voice(ringTimeout=14), "mode.ringTimeout"),
        (voice(maxDuration=0), "mode.maxDuration"),
        (voice(message="hello"), "mode.message"),
        (agent(), "mode.agent.kind"),
        (agent(kind="fax"), "mode.agent.kind"),
        (agent(kind=["sip"]), "mode.agent.kind"),
        (agent(kind="sip"), "mode.agent.uri"),
        (agent(kind="sip", uri="https://a"), "mode.agent.uri"),
        (agent(kind="sip", uri="sip:a@b", url="ws://a"), "mode.agent.url"),
        (agent(kind="ws_media", url="https://a"), "mode.agent.url"),
        (agent(kind="number", e164="4155550123"), "mode.agent.e164"),
        (agent(kind="number", e164="+1415"), "mode.agent.e164"),
        (agent(kind="native", id="a", params={"x": 1}), "mode.agent.params"),
        (agent(kind="native", id="a", capacity=0), "mode.agent.capacity"),
        (agent(kind="native", id="a", capacity="5"), "mode.agent.capacity"),
        (voice(concurrentCalls=0), "mode.concurrentCalls"),
        (voice(pacing="progressive"), "mode.pacing"),
        (voice(pacing="predictive", agent={"kind": "native", "id": "a"}), "mode.pacing"),
        (voice(pacing="power", agent={"kind": "native", "id": "a", "capacity": 2}), "mode.pacing"),
        (voice(abandonTarget=0), "mode.abandonTarget"),
        (voice(abandonTarget=0.03), "mode.abandonTarget"),
        (voice(abandonTarget="1.5%"), "mode.abandonTarget"),
        (voice(retry=[]), "mode.retry"),
        (voice(retry={"no_answer": {"max": 1}}), "mode.retry.no_answer"),
        (voice(retry={"delivered": {"max": 1}}), "mode.retry.delivered"),
        (voice(retry={"busy": 3}), "mode.retry.busy"),
        (voice(retry={"busy": {"max": 11}}), "mode.retry.busy.max"),
        (voice(retry={"busy": {"delay": "soon"}}), "mode.retry.busy.delay"),
        (voice(retry={"busy": {"delay": "0s"}}), "mode.retry.busy.delay"),
        (voice(retry={"busy": {"times": 1}}), "mode.retry.busy.times"),
        ({"name": "x", "channel": "sms", "mode": {"retry": {"busy": {"max": 1}}}}, "mode.retry.busy"),
        (voice(agent="sip:a@b"), "mode.agent"),
        ({"name": "x", "channel": "sms", "mode": {"message": ""}}, "mode.message"),
        ({"name": "x", "channel": "sms", "mode": {"message": "x" * 1601}}, "mode.message"),
        ({"name": "x", "channel": "sms", "mode": {"ai": True}}, "mode.ai"),
        ({"name": "x", "callerIds": "949"}, "callerIds"),
        ({"name": "x", "callerIds": ["+19495551000", "9495551000"]}, "callerIds[1]"),
        ({"name": "x", "callerIds": ["999"]}, "callerIds[0]"),
        ({"name": "x", "callerIds": [949]}, "callerIds[0]"),
        ({"name": "x", "callerIds": [["949"]]}, "callerIds[0]"),
        ({"name": "x", "callerIdStrategy": {"selection": "best"}}, "callerIdStrategy.selection"),
        ({"name": "x", "callerIdStrategy": {"selection": []}}, "callerIdStrategy.selection"),
        ({"name": "x", "callerIdStrategy": {"localPresence": True}}, "callerIdStrategy.localPresence"),
        ({"name": "x", "callerIdStrategy": {"local_presence": "no"}}, "callerIdStrategy.local_presence"),
        ({"name": "x", "schedule": {"startHour": 25}}, "schedule.startHour"),
    ],
)
def test_faults_name_the_field(body: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_campaign(body)
    assert field in caught.value.fields
    assert field in caught.value.message or "more" in caught.value.message


def test_a_body_that_is_no_object() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_campaign([1])
    assert set(caught.value.fields) == {"body", "name"}


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_campaign({"mode": {"ai": 1, "x": 2}, "callerIds": ["?"], "schedule": {"days": []}})
    assert set(caught.value.fields) == {"name", "mode.ai", "mode.x", "callerIds[0]", "schedule.days"}


def test_the_rate_limit_is_a_setting() -> None:
    assert parse_campaign(voice(calls_per_second=5), most_calls_per_second=5)
    with pytest.raises(InvalidInput, match=r"0\.001 to 5"):
        parse_campaign(voice(calls_per_second=5.1), most_calls_per_second=5)


@pytest.mark.parametrize(
    ("target", "agent_"),
    [
        ({"kind": "sip", "uri": "sip:agent@example.com"}, Agent("sip", "sip:agent@example.com")),
        ({"kind": "ws_media", "url": "wss://a/b", "params": {"k": "v"}}, Agent("ws_media", "wss://a/b", {"k": "v"})),
        ({"kind": "ws_text", "url": "ws://127.0.0.1:9/x"}, Agent("ws_text", "ws://127.0.0.1:9/x")),
        ({"kind": "native", "id": "assistant-1"}, Agent("native", "assistant-1")),
        ({"kind": "number", "e164": "+14155550123"}, Agent("number", "+14155550123")),
    ],
)
def test_agents(target: object, agent_: Agent) -> None:
    assert parse_agent(target) == agent_


def test_what_is_missing_at_start() -> None:
    assert "mode.message" in missing_at_start(SmsMode(), account_has_agent=True)
    assert missing_at_start(SmsMode("hello"), account_has_agent=False) == {}
    assert "mode.agent" in missing_at_start(VoiceMode(ai=True), account_has_agent=False)
    assert missing_at_start(VoiceMode(ai=True), account_has_agent=True) == {}
    assert missing_at_start(VoiceMode(ai=True, agent=Agent("native", "a")), account_has_agent=False) == {}
    assert missing_at_start(VoiceMode(), account_has_agent=False) == {}


def test_retries_by_outcome_take_what_they_leave_out_from_the_plain_rule() -> None:
    given = {"noAnswer": {"max": 3, "delay": "30m"}, "busy": {"delay": "5m"}, "voicemail": {"max": 1}}
    mode = parse_mode("voice", {"max_retries": 2, "retry_delay": "1h", "retry": given})
    assert mode.retry.after("no_answer") == Again(3, 1_800)
    assert mode.retry.after("busy") == Again(2, 300)
    assert mode.retry.after("voicemail") == Again(1, 3_600)
    assert mode.retry.after("failed") == Again(2, 3_600)
    assert parse_mode("sms", {"retry": {"failed": {"max": 1}}}).retry.after("failed") == Again(1, 14_400)


@pytest.mark.parametrize(
    ("mode", "pacing"),
    [
        ({}, None),
        ({"agent": {"kind": "native", "id": "a"}}, None),
        ({"agent": {"kind": "native", "id": "a", "capacity": 4}}, Pacing.PROGRESSIVE),
        ({"agent": {"kind": "native", "id": "a", "capacity": 4}, "pacing": "predictive"}, Pacing.PREDICTIVE),
    ],
)
def test_agents_that_can_be_counted_are_never_called_ahead_of_unasked(mode: object, pacing: Pacing | None) -> None:
    found = parse_mode("voice", mode)
    assert isinstance(found, VoiceMode)
    assert (found.pacing, found.abandon_target) == (pacing, DEFAULT_TARGET)


def test_what_was_sent_is_repeated_in_short_however_long_and_much_it_is() -> None:
    wrong = {"x" * 5_000: 1, **{f"field{number}": 1 for number in range(10_000)}}
    with pytest.raises(InvalidInput) as refusal:
        parse_campaign(wrong)
    assert len(refusal.value.message) < 500
    assert re.search(r"\(and 10\d{3} more\)", refusal.value.message)
    assert len(refusal.value.fields) == 100
    assert max(map(len, refusal.value.fields)) == 58
