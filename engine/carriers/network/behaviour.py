"""What happens to one call or text, from the seed and the ref alone: the same seed gives the same history."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from engine.carriers.network.config import SMS_MIX, VOICE_MIX, Config, Faults, Range
from engine.carriers.port import Channel

MAGIC = {  # last two digits of the called number → outcome, where the configuration says `magic`
    "00": "human",
    "01": "machine",
    "02": "no_answer",
    "03": "busy",
    "04": "failed",
    "05": "invalid",  # refused at the create, voice and SMS
    "06": "not_found",
    "07": "fax",
    "08": "unknown",
    "09": "silence",
    "10": "screening",
    "11": "blocked",
    "20": "delivered",
    "21": "failed",
    "22": "transient",
    "23": "no_report",
    "24": "opted_out",
    "25": "filtered",
}
MAGIC_FAULTS = {  # likewise → fault
    "30": "rate_limit",
    "31": "error_after_accept",
    "32": "drop_after_accept",
    "33": "hang_after_accept",
    "34": "drop_before_accept",
    "35": "redirect",
    "36": "command_error",
    "40": "callback_double",
    "41": "callback_late",
    "42": "callback_lost",
    "43": "callback_disorder",
}
CREATE_FAULTS = (
    "rate_limit",
    "drop_before_accept",
    "redirect",
    "error_after_accept",
    "drop_after_accept",
    "hang_after_accept",
)
_ANSWERED = frozenset({"human", "machine", "fax", "unknown", "silence", "screening"})


@dataclass(frozen=True, slots=True)
class Script:
    """One call's or text's fate. Durations are real seconds, the speed already divided out."""

    outcome: str
    setup_s: float
    ring_s: float
    greeting_s: float
    amd_s: float
    beep_s: float
    screening_s: float
    talk_s: float
    patience_s: float
    record_s: float
    playback_s: float
    bridge_s: float
    beeps: bool  # or the greeting just ends
    passes_screening: bool

    @property
    def is_answered(self) -> bool:
        return self.outcome in _ANSWERED

    @property
    def is_person(self) -> bool:
        return self.outcome in ("human", "unknown", "silence", "screening")


def draws(seed: int, *parts: object) -> list[float]:
    """Sixteen numbers in [0, 1), fixed by the seed and the parts."""
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=64).digest()
    return [int.from_bytes(digest[i : i + 4]) / 2**32 for i in range(0, 64, 4)]


def voice(config: Config, ref: str, to: str) -> Script:
    chance = draws(config.seed, "voice", ref)
    latency = config.latency
    outcome = _outcome(config, Channel.VOICE, to, chance[0])
    greeting = latency.machine_greeting_s if outcome == "machine" else latency.greeting_s

    def pick(span: Range, unit: float) -> float:
        return (span[0] + (span[1] - span[0]) * unit) / config.speed

    return Script(
        outcome=outcome,
        setup_s=pick(latency.setup_s, chance[1]),
        ring_s=pick(latency.ring_s, chance[2]),
        greeting_s=pick(greeting, chance[3]),
        amd_s=pick(latency.amd_s, chance[4]),
        beep_s=pick(latency.beep_s, chance[5]),
        screening_s=pick(latency.screening_s, chance[6]),
        talk_s=pick(latency.talk_s, chance[7]),
        patience_s=pick(latency.patience_s, chance[8]),
        record_s=pick(latency.record_s, chance[9]),
        playback_s=pick(latency.playback_s, chance[10]),
        bridge_s=pick(latency.bridge_s, chance[11]),
        beeps=chance[12] < 0.85,
        passes_screening=chance[13] < 0.8,
    )


def sms(config: Config, ref: str, to: str) -> tuple[str, float, float]:
    """(outcome, real seconds until sent, real seconds from sent to the report)."""
    chance = draws(config.seed, "sms", ref)
    sent, delivery = config.latency.sms_sent_s, config.latency.sms_delivery_s
    return (
        _outcome(config, Channel.SMS, to, chance[0]),
        (sent[0] + (sent[1] - sent[0]) * chance[1]) / config.speed,
        (delivery[0] + (delivery[1] - delivery[0]) * chance[2]) / config.speed,
    )


def create_fault(config: Config, faults: Faults, ref: str, nth: int, to: str) -> str:
    """The fault that befalls the nth create of a ref, or an empty text."""
    if config.magic and (magic := MAGIC_FAULTS.get(to[-2:], "")) in CREATE_FAULTS:
        return magic
    rates: list[float] = [getattr(faults, name) for name in CREATE_FAULTS]
    if not any(rates):
        return ""
    chance = draws(config.seed, "create", ref, nth)
    return next((name for name, rate, unit in zip(CREATE_FAULTS, rates, chance, strict=False) if unit < rate), "")


def strikes(config: Config, faults: Faults, name: str, to: str, *parts: object) -> bool:
    """Does this fault befall this callback or command?"""
    if config.magic and MAGIC_FAULTS.get(to[-2:]) == name:
        return True
    rate: float = getattr(faults, name)
    return rate > 0 and draws(config.seed, name, *parts)[0] < rate


def _outcome(config: Config, channel: Channel, to: str, unit: float) -> str:
    """A magic number's outcome, the best one for a number that has a magic fault, or a draw from the mix."""
    mix, known, best = (
        (config.voice_mix, VOICE_MIX, "human") if channel is Channel.VOICE else (config.sms_mix, SMS_MIX, "delivered")
    )
    last_two = to[-2:]
    if config.magic and (MAGIC.get(last_two) in known or last_two in MAGIC_FAULTS):
        return MAGIC.get(last_two, best)
    return weighted(mix, unit)


def weighted(mix: Mapping[str, float], unit: float) -> str:
    """The outcome at `unit` of [0, 1) along the mix's weights."""
    rest = unit * sum(mix.values())
    for outcome, weight in mix.items():
        rest -= weight
        if rest < 0:
            return outcome
    return outcome  # rounding at the very end
