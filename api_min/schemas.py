"""What goes in and out, as pydantic sees it: the source of /docs and /openapi.json.

Unknown request fields are refused and named, never ignored: a mistyped `calls_per_secnd` would dial at a rate that
nobody chose.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

Channel = Literal["voice", "sms"]
CampaignStatus = Literal["created", "dialing", "paused", "completed", "cancelled", "failed"]
ProspectStatus = Literal["queued", "dialing", "sending", "sent", "completed", "cancelled"]

_VOICE_CAMPAIGN: JsonDict = {
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
_SMS_CAMPAIGN: JsonDict = {
    "name": "March Follow-Up Texts",
    "channel": "sms",
    "mode": {"message": "Hi, a short follow-up on your inquiry. Reply YES to schedule a call."},
    "callerIds": ["+19495551000"],
    "schedule": {"timezone": "America/Los_Angeles"},
}


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class _Out(BaseModel):
    model_config = ConfigDict(extra="allow", alias_generator=to_camel)


class ScheduleIn(_In):
    """The campaign's own hours. The law's hours at the recipient always hold as well."""

    timezone: str | None = Field(None, description="IANA time zone; without it, hours are the recipient's")
    start_hour: int | None = Field(None, ge=0, le=23)
    end_hour: int | None = Field(None, ge=0, le=23)
    days: list[int] | None = Field(None, description="1 = Monday … 7 = Sunday")


class CampaignIn(_In):
    """Documentation only: `engine.rules.campaign_config` is what validates a campaign."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VOICE_CAMPAIGN, _SMS_CAMPAIGN]})

    name: str = Field(min_length=1, max_length=200)
    channel: Channel = "voice"
    purpose: Literal["marketing", "informational", "emergency"] = Field(
        "marketing", description="decides the legal hours: all rules, those that do not only bind solicitation, or none"
    )
    mode: dict[str, Any] | None = Field(
        None,
        description="voice: ai, voicemailAudioUrl, calls_per_second, concurrentCalls, max_retries, retry_delay, retry,"
        " agent, pacing, abandonTarget, systemPrompt, ringTimeout, maxDuration."
        " sms: message (required at start), max_retries, retry_delay, retry.",
    )
    caller_ids: list[str] | None = Field(None, description="E.164 numbers or area codes; none: any owned number")
    caller_id_strategy: dict[str, Any] | None = Field(None, description="selection, local_presence")
    schedule: ScheduleIn | None = None
    frequency_cap: dict[str, Any] | None = Field(
        None, description="`{max, per}`: marketing contacts of one person, over all campaigns; beside the account's"
    )


class CampaignOut(_Out):
    id: str = Field(examples=["camp_01hq3v8x2k4tz"])
    name: str = Field(examples=["Q1 SoCal Outreach"])
    status: CampaignStatus
    channel: Channel


class CampaignsOut(_Out):
    campaigns: list[CampaignOut]
    next_cursor: str | None = Field(None, description="only with `limit` or `cursor`; null on the last page")


class StatsOut(_Out):
    """`queued + dialing + sending + sent + completed + cancelled = total`; the others are parts of these."""

    total: int
    queued: int
    dialing: int
    completed: int
    failed: int
    cancelled: int
    no_answer: int
    busy: int
    voicemail: int
    human_connected: int
    sending: int
    sent: int
    delivered: int
    progress: int = Field(ge=0, le=100)
    abandon_rate: float = Field(0.0, description="of the people who answered in the last 30 days, the share abandoned")


class CampaignDetailOut(CampaignOut):
    stats: StatsOut


class PhonesIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"phones": ["+17145551001", "+16195551002"]}]})

    phones: Annotated[list[Any], Field(min_length=1, max_length=10_000, description="E.164 numbers")]


class AddedOut(_Out):
    added: int


class ProspectOut(_Out):
    id: str
    campaign_id: str
    phone: str
    status: ProspectStatus


class ProspectsOut(_Out):
    prospects: list[ProspectOut]
    next_cursor: str | None = Field(None, description="only with `limit` or `cursor`; null on the last page")


class InvalidLineOut(_Out):
    line: int
    reason: str
    text: str


class ImportOut(_Out):
    added: int
    duplicates: int
    invalid: int
    errors: list[InvalidLineOut] = Field(description="the first 1,000")
    held: int = Field(0, description="of those added: people whose data the message needs and who lack it")
    released: int = Field(0, description="held before, and in this file with their data")
    lacking: list[InvalidLineOut] = Field([], description="the first 1,000 lines that lack data")


class KeyIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "crm", "scopes": ["campaigns:write"]}]})

    name: str = Field(min_length=1, max_length=200)
    scopes: list[str] = Field(min_length=1, max_length=50)
    rate_limit: int | None = Field(None, ge=1, le=1_000_000, description="requests a minute")
    expires_in_days: int | None = Field(None, ge=1, le=3_650)
    user_id: str | None = Field(None, description="whose numbers it hears of on the streams of one's own")
    team_id: str | None = Field(None, description="or those of a team; with neither it is account-wide")


class KeyOut(_Out):
    id: str = Field(examples=["key_01hq3v8x2k4tz"])
    prefix: str = Field(examples=["tk_test_a1b2"])
    name: str
    scopes: list[str]
    rate_limit: int
    expires_at: str | None
    user_id: str | None
    team_id: str | None


class NewKeyOut(KeyOut):
    key: str = Field(description="shown this once")


class KeysOut(_Out):
    keys: list[KeyOut]


class DidIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"number": "+19495551000", "capabilities": ["voice"]}]})

    number: str = Field(description="E.164")
    capabilities: list[Channel] = Field(default=["voice", "sms"], min_length=1, max_length=2)
    label: str = Field("", max_length=200)
    line_id: str | None = Field(None, description="whose number it is; null: the whole account's")


class DidOut(_Out):
    id: str
    number: str
    capabilities: list[str]
    state: Literal["warming", "active", "cooling", "burned", "quarantine", "released"]
    label: str
    line_id: str | None


class DidsOut(_Out):
    dids: list[DidOut]


class CallIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"from": "+19495551000", "to": "+14155550123"}]})

    from_: str = Field(alias="from", description="an owned, active voice number")
    to: str = Field(description="E.164")
    system_prompt: str | None = Field(None, min_length=1, max_length=32_000, description="makes it an AI call")
    model: str | None = Field(None, max_length=200)
    voice: str | None = Field(None, max_length=200)
    tools: list[Any] | None = Field(None, max_length=100)
    first_speaker: Literal["agent", "user", "assistant", "callee"] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_duration: int | None = Field(None, ge=10, le=14_400, description="seconds")
    metadata: dict[str, Any] | None = None
    purpose: Literal["marketing", "informational"] | None = Field(None, description="without it, marketing")


class CallOut(_Out):
    id: str = Field(examples=["call_01hq3v8x2k4tz"])
    status: str = Field(examples=["queued"])
    from_: str = Field(alias="from")
    to: str


class ErrorBody(BaseModel):
    code: str = Field(examples=["validation_error"])
    message: str
    fields: dict[str, Any]


class ErrorOut(BaseModel):
    error: ErrorBody
