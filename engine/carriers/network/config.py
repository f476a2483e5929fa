"""The network's configuration: what people and machines do, how long it takes, and what goes wrong how often."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1]:
        raise ValueError("a range is [low, high] with 0 <= low <= high, in seconds")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
Rate = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Strict):
    """Simulated seconds, each drawn uniformly from its range; `speed` divides them all."""

    setup_s: Range = (0.3, 1.5)  # create to ringing
    ring_s: Range = (4, 16)
    greeting_s: Range = (0.6, 1.6)  # a person's hello
    machine_greeting_s: Range = (4, 12)
    amd_s: Range = (1.2, 3.5)  # answer to verdict
    beep_s: Range = (0.3, 1.0)  # end of the greeting to the beep
    screening_s: Range = (3, 6)  # the assistant asks, then a person decides
    talk_s: Range = (15, 90)  # bridged to the person's hang-up
    patience_s: Range = (5, 9)  # a person hears nothing and hangs up
    record_s: Range = (60, 120)  # a machine's recording limit
    playback_s: Range = (8, 20)
    bridge_s: Range = (0.2, 0.8)  # a SIP, number, text or native agent
    sms_sent_s: Range = (0.1, 0.6)
    sms_delivery_s: Range = (0.5, 5)


class Faults(_Strict):
    """Probabilities per create, per command or per callback; changed live by `POST /control/faults`."""

    rate_limit: Rate = 0.0  # 429, nothing accepted
    drop_before_accept: Rate = 0.0
    redirect: Rate = 0.0  # 307, nothing accepted
    error_after_accept: Rate = 0.0  # 503
    drop_after_accept: Rate = 0.0
    hang_after_accept: Rate = 0.0
    command_error: Rate = 0.0  # 503, nothing carried out
    callback_double: Rate = 0.0
    callback_late: Rate = 0.0  # by `late_s`
    callback_lost: Rate = 0.0
    callback_disorder: Rate = 0.0  # held back by `disorder_s`, so that later ones overtake it
    hang_s: Annotated[float, Field(ge=0)] = 30.0  # real seconds, as the next two
    late_s: Range = (1, 5)
    disorder_s: Range = (0.05, 0.4)


class Account(_Strict):
    id: str = "sim"
    secret: str = "sim-secret"  # bearer token, or basic password
    signing_secret: str = "sim-signing-secret"


VOICE_MIX = {
    "human": 0.34,
    "machine": 0.30,
    "no_answer": 0.20,
    "busy": 0.06,
    "failed": 0.03,
    "blocked": 0.0,  # by analytics: SIP 603+
    "not_found": 0.01,
    "invalid": 0.01,
    "fax": 0.01,
    "unknown": 0.02,
    "silence": 0.01,
    "screening": 0.01,
}
SMS_MIX = {
    "delivered": 0.95,
    "failed": 0.02,
    "transient": 0.015,
    "no_report": 0.01,
    "filtered": 0.0,  # as spam
    "opted_out": 0.003,
    "invalid": 0.002,
}


class Config(_Strict):
    seed: int = 0
    speed: Annotated[float, Field(gt=0)] = 1.0
    magic: bool = False  # the last two digits of the called number choose: `engine.carriers.network.behaviour.MAGIC`
    accounts: tuple[Account, ...] = (Account(),)
    voice_mix: dict[str, float] = Field(default_factory=lambda: dict(VOICE_MIX))
    sms_mix: dict[str, float] = Field(default_factory=lambda: dict(SMS_MIX))
    latency: Latency = Latency()
    faults: Faults = Faults()
    allow_private: bool = True  # audio and agents may be inside our network; false where strangers have test keys
    agent_timeout_s: Annotated[float, Field(gt=0)] = 2.0  # real: connect, and first frame
    callback_timeout_s: Annotated[float, Field(gt=0)] = 5.0  # real
    callback_retries_s: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 30)  # real; then the callback is lost

    @model_validator(mode="after")
    def _known_outcomes(self) -> "Config":
        for mix, known in ((self.voice_mix, VOICE_MIX), (self.sms_mix, SMS_MIX)):
            if unknown := mix.keys() - known.keys():
                raise ValueError(f"unknown outcomes {sorted(unknown)}: choose from {sorted(known)}")
            if min(mix.values(), default=-1) < 0 or sum(mix.values()) <= 0:
                raise ValueError("a mix needs weights of at least 0, and one above it")
        return self


def load(text_or_path: str) -> Config:
    """From JSON text (it begins with a brace) or from a file of it. Raises pydantic.ValidationError or OSError."""
    text = text_or_path if text_or_path.lstrip().startswith("{") else Path(text_or_path).read_text("utf-8")
    return Config.model_validate_json(text)
