"""The body that creates a campaign (reference 004), read into frozen values; all faults are named in one answer.

Every value keeps the JSON it came from (`to_json`), so that what is stored and shown is what the client sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast
from urllib.parse import urlsplit

from engine.errors import InvalidInput
from engine.rules.account_limits import LEAST_PER_SECOND
from engine.rules.area_codes import area_codes
from engine.rules.attempt_caps import Cap, read_cap
from engine.rules.caller_id import DEFAULT_STRATEGY, SELECTIONS, Strategy
from engine.rules.duration import parse_duration
from engine.rules.fields import ABSENT, Fields, Problems, shown
from engine.rules.pacing import DEFAULT_TARGET, FROZEN_AT, MOST_AGENTS, Pacing
from engine.rules.phone import is_e164
from engine.rules.purpose import Purpose
from engine.rules.retry import NO_RETRY, WIRE_NAMES, Again, RetryRule
from engine.rules.schedule import ANY_TIME, Schedule, read_schedule
from engine.rules.template import Template
from engine.rules.template import parse as parse_template

Json = Mapping[str, object]

NAME_MAX = 200
MESSAGE_MAX = 1_600
MOST_CALLS_PER_SECOND = 1_000.0
MOST_RETRIES = 10
MOST_CALLER_IDS = 1_000
MOST_CONCURRENT_CALLS = 100_000
SHORTEST_RING_S = 15  # TSR safe harbour: 15 seconds or four rings (COMPLIANCE F5)

_BODY = frozenset({"name", "channel", "purpose", "mode", "callerIds", "callerIdStrategy", "schedule", "frequencyCap"})
_RETRY = frozenset({"max_retries", "retry_delay", "retry"})
_AGAIN = frozenset({"max", "delay"})
_SMS_OUTCOMES = frozenset({"failed"})  # a text is delivered or fails
_SMS = _RETRY | {"message"}
_VOICE = _RETRY | {
    "ai",
    "voicemailAudioUrl",
    "calls_per_second",
    "agent",
    "systemPrompt",
    "ringTimeout",
    "maxDuration",
    "concurrentCalls",
    "pacing",
    "abandonTarget",
}
_STRATEGY = frozenset({"selection", "local_presence"})
# An agent's kind: the field that holds its address, and what that must begin with.
_AGENT_ADDRESS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sip": ("uri", ("sip:", "sips:")),
    "ws_media": ("url", ("ws://", "wss://")),
    "ws_text": ("url", ("ws://", "wss://")),
    "native": ("id", ()),
    "number": ("e164", ("+",)),
}
_PEOPLE = frozenset({"sip", "number"})  # where a person may pick up; every other kind of agent is a program


@dataclass(frozen=True, slots=True)
class Agent:
    """Where a live call is handed to. `params` are handed on with it."""

    kind: str
    address: str
    params: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None  # calls that it takes at one time


@dataclass(frozen=True, slots=True)
class VoiceMode:
    ai: bool = False
    voicemail_audio_url: str | None = None
    calls_per_second: float = 1.0
    retry: RetryRule = NO_RETRY
    agent: Agent | None = None
    system_prompt: str | None = None
    ring_timeout_s: int = 25
    max_duration_s: int = 3_600
    concurrent_calls: int | None = None
    pacing: Pacing | None = None  # how calls keep step with the agents; none: they do not
    abandon_target: float = DEFAULT_TARGET
    sent: Json | None = field(default=None, compare=False, repr=False)

    @property
    def is_automated(self) -> bool:
        """Whether people may hear an artificial or prerecorded voice, which some states allow in fewer hours: always,
        but for a campaign that names people as its agents and plays nothing. An account's default agent may change and
        does not count."""
        has_people = self.agent is not None and self.agent.kind in _PEOPLE
        return self.ai or bool(self.system_prompt) or bool(self.voicemail_audio_url) or not has_people

    def to_json(self) -> Json | None:
        return self.sent


@dataclass(frozen=True, slots=True)
class SmsMode:
    message: str | None = None
    retry: RetryRule = NO_RETRY
    sent: Json | None = field(default=None, compare=False, repr=False)

    @property
    def is_automated(self) -> bool:
        return True  # nobody types the texts of a campaign

    @property
    def template(self) -> Template:
        return parse_template(self.message or "")

    def to_json(self) -> Json | None:
        return self.sent


@dataclass(frozen=True, slots=True)
class CampaignConfig:
    name: str
    channel: str
    mode: VoiceMode | SmsMode
    purpose: Purpose = Purpose.MARKETING
    caller_ids: tuple[str, ...] = ()
    strategy: Strategy = DEFAULT_STRATEGY
    schedule: Schedule = ANY_TIME
    frequency_cap: Cap | None = None  # marketing contacts of one person, of the whole account
    sent: Json = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> Json:
        """The body as it was sent."""
        return self.sent


def parse_campaign(body: object, most_calls_per_second: float = MOST_CALLS_PER_SECOND) -> CampaignConfig:
    """A whole create body. Raises InvalidInput whose `fields` name every fault (`mode.calls_per_second`, …)."""
    problems = Problems()
    fields = Fields(body, "", problems, _BODY)
    name = fields.text("name", 1, NAME_MAX)
    if name is None and fields.get("name") is ABSENT:
        fields.fault("name", f"is required; give 1 to {NAME_MAX} characters")
    channel = fields.choice("channel", ("voice", "sms"))
    config = CampaignConfig(
        name=name or "",
        channel=channel,
        mode=_read_mode(channel, _value(fields, "mode"), problems, most_calls_per_second),
        purpose=Purpose(fields.choice("purpose", tuple(Purpose))),
        caller_ids=_read_caller_ids(fields),
        strategy=_read_strategy(_value(fields, "callerIdStrategy"), problems),
        schedule=read_schedule(_value(fields, "schedule"), problems),
        frequency_cap=read_cap(fields, problems, "campaign"),
        sent=cast(Json, body) if isinstance(body, Mapping) else {},
    )
    if config.frequency_cap is not None and config.purpose is not Purpose.MARKETING:
        fields.fault("frequencyCap", f"counts marketing contacts only; leave it out of {config.purpose} campaigns")
    problems.raise_if_any("campaign")
    return config


def parse_mode(channel: str, value: object) -> VoiceMode | SmsMode:
    """`mode` alone, as stored. Raises InvalidInput."""
    problems = Problems()
    mode = _read_mode(channel, value, problems, MOST_CALLS_PER_SECOND)
    problems.raise_if_any("mode")
    return mode


def parse_strategy(value: object) -> Strategy:
    """`callerIdStrategy` alone, as stored. Raises InvalidInput."""
    problems = Problems()
    strategy = _read_strategy(value, problems)
    problems.raise_if_any("callerIdStrategy")
    return strategy


def parse_agent(value: object, path: str = "agent") -> Agent:
    """An agent target, as in `mode.agent` or an account's default. Raises InvalidInput."""
    problems = Problems()
    agent = _read_agent(value, problems, path)
    problems.raise_if_any("agent")
    return agent


def missing_at_start(mode: VoiceMode | SmsMode, account_has_agent: bool) -> dict[str, str]:
    """What a campaign still lacks before it may start, by field; empty when nothing is missing."""
    if isinstance(mode, SmsMode) and mode.message is None:
        return {"mode.message": "is required to start an SMS campaign; create the campaign with the text to send"}
    if isinstance(mode, VoiceMode) and mode.ai and mode.agent is None and not account_has_agent:
        return {"mode.agent": "mode.ai is true but neither the campaign nor the account has an agent; set one"}
    return {}


def _value(fields: Fields, key: str) -> object:
    value = fields.get(key)
    return None if value is ABSENT else value


def _read_mode(channel: str, value: object, problems: Problems, most_cps: float) -> VoiceMode | SmsMode:
    sent = cast(Json, value) if isinstance(value, Mapping) else None
    if channel == "sms":
        fields = Fields(value, "mode", problems, _SMS)
        return SmsMode(_read_message(fields), _read_retry(fields, problems, _SMS_OUTCOMES), sent)
    fields = Fields(value, "mode", problems, _VOICE)
    target = _value(fields, "agent")
    agent = None if target is None else _read_agent(target, problems, "mode.agent")
    return VoiceMode(
        ai=fields.boolean("ai", False),
        voicemail_audio_url=_read_url(fields, "voicemailAudioUrl"),
        calls_per_second=_read_rate(fields, most_cps),
        retry=_read_retry(fields, problems, frozenset(WIRE_NAMES)),
        agent=agent,
        system_prompt=fields.text("systemPrompt", 1, 32_000),
        ring_timeout_s=fields.whole("ringTimeout", SHORTEST_RING_S, 120, "number of seconds") or 25,
        max_duration_s=fields.whole("maxDuration", 10, 14_400, "number of seconds") or 3_600,
        concurrent_calls=fields.whole("concurrentCalls", 1, MOST_CONCURRENT_CALLS, "number of calls"),
        pacing=_read_pacing(fields, agent),
        abandon_target=_read_target(fields),
        sent=sent,
    )


def _read_message(fields: Fields) -> str | None:
    message = fields.text("message", 1, MESSAGE_MAX)
    try:
        parse_template(message or "")
    except InvalidInput as error:
        fields.fault("message", str(error.fields["message"]))
        return None
    return message


def _read_retry(fields: Fields, problems: Problems, outcomes: frozenset[str]) -> RetryRule:
    plain = RetryRule(fields.whole("max_retries", 0, MOST_RETRIES) or 0, _read_delay(fields, "retry_delay"))
    path = fields.path("retry")
    by_name = Fields(_value(fields, "retry"), path, problems, outcomes)
    given = []
    for name in sorted(outcomes):
        if (value := by_name.get(name)) is ABSENT:
            continue
        again = Fields(value, f"{path}.{name}", problems, _AGAIN)
        most = again.whole("max", 0, MOST_RETRIES)
        delay_s = _read_delay(again, "delay", plain.delay_s)
        given.append((WIRE_NAMES[name], Again(plain.max_retries if most is None else most, delay_s)))
    return replace(plain, by_outcome=tuple(given))


def _read_delay(fields: Fields, key: str, default_s: int = NO_RETRY.delay_s) -> int:
    delay = fields.get(key)
    if delay is ABSENT:
        return default_s
    path = fields.path(key)
    try:
        return parse_duration(delay, path)
    except InvalidInput as error:
        fields.fault(key, str(error.fields[path]))
        return default_s


def _read_pacing(fields: Fields, agent: Agent | None) -> Pacing | None:
    """Agents that can be counted are never called ahead of, unless the campaign asks for it."""
    has_capacity = agent is not None and agent.capacity is not None
    if fields.get("pacing") is ABSENT:
        return Pacing.PROGRESSIVE if has_capacity else None
    pacing = Pacing(fields.choice("pacing", tuple(Pacing)))
    if not has_capacity:
        fields.fault("pacing", "needs mode.agent.capacity: how many calls the agents take at one time")
    return pacing


def _read_target(fields: Fields) -> float:
    value = fields.get("abandonTarget")
    if value is ABSENT:
        return DEFAULT_TARGET
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= FROZEN_AT:
        return value
    fault = f"{shown(value)} is not a share of the people who answer; give a number above 0, at most {FROZEN_AT:g}"
    fields.fault("abandonTarget", fault)
    return DEFAULT_TARGET


def _read_rate(fields: Fields, most: float) -> float:
    value = fields.get("calls_per_second")
    if value is ABSENT:
        return 1.0
    if isinstance(value, (int, float)) and not isinstance(value, bool) and LEAST_PER_SECOND <= value <= most:
        return value
    fields.fault(
        "calls_per_second", f"{shown(value)} is not a rate; give a number from {LEAST_PER_SECOND:g} to {most:g}"
    )
    return 1.0


def _read_url(fields: Fields, key: str) -> str | None:
    value = fields.text(key, 1, 2_048)
    if value is None or _is_web_url(value):
        return value
    fields.fault(key, f"{shown(value)} is not a web address; give one that begins with https:// or http://")
    return None


def _is_web_url(text: str) -> bool:
    if not text.isprintable() or " " in text:
        return False
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, or brackets that hold no IPv6 address
        return False


def _read_caller_ids(fields: Fields) -> tuple[str, ...]:
    values = fields.items("callerIds", MOST_CALLER_IDS)
    for index, value in enumerate(values):
        if not (isinstance(value, str) and (is_e164(value) or value in area_codes())):
            fields.fault(
                f"callerIds[{index}]",
                f"{shown(value)} is neither an E.164 number such as +19495551000 nor an area code in service, as 949",
            )
    return tuple(value for value in values if isinstance(value, str))


def _read_strategy(value: object, problems: Problems) -> Strategy:
    fields = Fields(value, "callerIdStrategy", problems, _STRATEGY)
    return Strategy(fields.choice("selection", SELECTIONS), fields.boolean("local_presence", False))


def _read_agent(value: object, problems: Problems, path: str) -> Agent:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    key, starts = _AGENT_ADDRESS.get(kind if isinstance(kind, str) else "", ("", ()))
    known = {"kind", "params", "capacity"} | ({key} if key else {"uri", "url", "id", "e164"})
    fields = Fields(value, path, problems, frozenset(known))
    if not key:
        fields.fault("kind", f"{shown(kind)} is not one of {', '.join(_AGENT_ADDRESS)}")
        return Agent("", "")
    address = fields.text(key, 1, 2_048)
    if address is None:
        fields.fault(key, f"is required for an agent of kind {kind}")
    elif starts and not address.startswith(starts):
        fields.fault(key, f"{shown(address)} must begin with {' or '.join(starts)}")
    elif key == "e164" and not is_e164(address):
        fields.fault(key, f"{shown(address)} is not an E.164 number; give one such as +14155550123")
    capacity = fields.whole("capacity", 1, MOST_AGENTS, "number of agents")
    return Agent(str(kind), address or "", _read_params(fields), capacity)


def _read_params(fields: Fields) -> Mapping[str, str]:
    value = fields.get("params")
    if value is ABSENT:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for part in value.values()):
        fields.fault("params", f"{shown(value)} is not an object of strings; put every value in quotes")
        return {}
    return {str(key): str(part) for key, part in value.items()}
