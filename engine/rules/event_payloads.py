"""The payload of each event, as a model: what the catalog and the AsyncAPI document are generated from.

Models refuse fields that they do not know, so that a test finds what an event tells beyond its model. The schemas
generated from them do not: a client must bear fields that are added later.
"""

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

E164 = Field(description="E.164", examples=["+14155550123"])

Outcome = Literal[
    "human_connected", "voicemail", "no_answer", "busy", "failed", "abandoned", "unknown", "delivered"
]  # of `engine.rules.prospect`
DidState = Literal["warming", "active", "cooling", "burned", "quarantine", "released"]
Verdict = Literal["human", "machine", "machine_ready", "fax", "silence", "screening", "unknown"]


def _open(schema: JsonDict) -> None:
    schema.pop("additionalProperties", None)


class Payload(BaseModel):
    """Base of all; fields in camelCase on the wire."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, json_schema_extra=_open)


class Attempt(Payload):
    """What every event tells of one attempt. One-off calls and messages have no campaign and no prospect."""

    id: str = Field(description="of the call or the message, as the API shows it")
    attempt: int = Field(ge=1)
    campaign_id: str | None = None
    prospect_id: str | None = None
    from_: str = Field(alias="from", description="one of your numbers")
    to: str = E164
    line: str | None = Field(None, description="the line that the number belongs to")


class _Ended(Attempt):
    outcome: Outcome
    reason: str | None = None
    next_attempt_at: datetime | None = Field(None, description="when it is tried again, if it is")


class _Message(Attempt):
    carrier_id: str | None = Field(description="the carrier's own id")
    segments: int | None = Field(None, ge=1, description="parts that the carrier counts")
    encoding: Literal["GSM-7", "UCS-2"] | None = None
    media_urls: list[str] | None = Field(None, description="makes it an MMS")


class SmsSent(_Message):
    status: Literal["sent"]


class SmsDelivered(_Message):
    status: Literal["delivered"]
    outcome: Literal["delivered"]


class SmsFailed(Payload):
    """Also of a one-off text that its receiver's opt-out caught in the queue: it has no attempt."""

    id: str
    attempt: int | None = Field(None, ge=1)
    campaign_id: str | None = None
    prospect_id: str | None = None
    from_: str = Field(alias="from", description="one of your numbers")
    to: str = E164
    line: str | None = None
    status: Outcome | Literal["suppressed"]
    outcome: Outcome | None = None
    reason: str | None = None
    next_attempt_at: datetime | None = Field(None, description="when it is tried again, if it is")
    error_code: str | None = Field(None, description="the carrier's own code")
    carrier_id: str | None = Field(None, description="the carrier's own id")
    segments: int | None = Field(None, ge=1, description="parts that the carrier counts")
    encoding: Literal["GSM-7", "UCS-2"] | None = None
    media_urls: list[str] | None = Field(None, description="makes it an MMS")


class SmsReceived(Payload):
    id: str
    from_: str = Field(alias="from", description="E.164")
    to: str = Field(description="one of your numbers")
    message: str
    direction: Literal["inbound"]
    created_at: datetime = Field(alias="created_at")
    line: str | None = None
    segments: int = Field(ge=1)
    encoding: Literal["GSM-7", "UCS-2"]
    media_urls: list[str] | None = Field(None, description="makes it an MMS")
    campaign_id: str | None = Field(None, description="the campaign that last wrote to this person")
    prospect_id: str | None = None
    meaning: str | None = Field(None, description="what its words ask for, when they are opt-out, opt-in or help")


class SmsOptOut(Payload):
    phone: str = Field(description="who opted out, E.164")
    from_: str = Field(alias="from", description="the same")
    to: str = Field(description="the number of yours that they wrote to")
    message_id: str
    keyword: str


class CallInitiated(Attempt):
    status: Literal["initiated"]
    carrier_id: str | None


class CallAnswered(Attempt):
    status: Literal["answered"]


class CallAmd(Attempt):
    status: Literal["answered"]
    amd: Verdict


class CallDtmf(Attempt):
    status: Literal["answered"]
    digit: str


class CallCompleted(_Ended):
    status: Literal["completed"]
    amd: Verdict | None
    duration_s: int | None = Field(ge=0, description="seconds of talk")
    carrier_id: str | None


class CallFailed(_Ended):
    status: Outcome
    started: bool = Field(description="false: the carrier never took it, and no initiated event came before")
    carrier_id: str | None


class CallInbound(Payload):
    id: str
    from_: str = Field(alias="from", description="E.164")
    to: str = Field(description="one of your numbers")
    status: str
    line: str | None = None


class CampaignCall(Attempt):
    campaign_id: str
    prospect_id: str


class CampaignCallInitiated(CampaignCall):
    status: Literal["initiated"]


class CampaignCallAnswered(CampaignCall):
    status: Literal["answered"]
    amd: Verdict | None


class CampaignCallHangup(CampaignCall):
    status: Literal["completed"]


class CampaignCallEnded(CampaignCall, _Ended):
    status: Outcome


class CampaignProspectDnc(Payload):
    """Of a prospect its campaign and itself; of a one-off call, which has neither, the call."""

    id: str | None = Field(None, description="of a one-off call, as the API shows it")
    campaign_id: str | None = None
    prospect_id: str | None = None
    phone: str = E164
    reason: str


class Stats(Payload):
    """`queued + dialing + sending + sent + completed + cancelled = total`, always."""

    total: int
    queued: int
    dialing: int
    sending: int
    sent: int
    completed: int
    cancelled: int
    failed: int
    no_answer: int
    busy: int
    voicemail: int
    human_connected: int
    delivered: int
    abandoned: int
    unknown: int
    suppressed: int
    retrying: int
    progress: int = Field(ge=0, le=100, description="percent")
    abandon_rate: float = Field(
        ge=0, le=1, description="of the people who answered in the last 30 days, the share abandoned"
    )


class CampaignStats(Payload):
    id: str
    stats: Stats


class CampaignPaused(Payload):
    campaign_id: str
    name: str
    reason: str


class DidTraded(Payload):
    id: str
    number: str = E164
    state: DidState
    carrier: str | None = None


class DidStateChanged(Payload):
    id: str
    number: str = E164
    from_: DidState = Field(alias="from")
    to: DidState
    reason: str = Field(description="`engine.rules.did_pool.Cause`", examples=["low_score", "label", "network_block"])
    until: datetime | None = Field(None, description="when the state ends by itself")


class ReputationChanged(Payload):
    id: str
    number: str = E164
    flagged: bool
    overall_score: float = Field(ge=0, le=1, description="1: clean")
    reason: str = Field(description="the engines that flag it, with their words", examples=["north: Scam Likely"])


class BillingUsage(Payload):
    meter: str = Field(examples=["sms.send", "voice.outbound"])
    quantity: int
    day: date = Field(description="UTC")
    total: int = Field(description="of that meter and day so far")


class WebhookDelivery(Payload):
    webhook_id: str
    delivery_id: str
    event: str
    event_id: str = Field(description="`evt_…`, the `webhook-id` of its deliveries")
    attempts: int = Field(ge=1)
    response_code: int | None
    error: str | None = None


class CallLeg(Payload):
    """One leg of a call that the API controls."""

    id: str
    from_: str = Field(alias="from")
    to: str
    line: str | None = None


class CallLegEnded(CallLeg):
    reason: str | None = None
    duration_s: int | None = Field(None, ge=0, description="seconds of talk")


class CallLegAccepted(CallLeg):
    user_id: str | None = Field(None, description="whose PIN or key it was")
