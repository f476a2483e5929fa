"""Messages, previews and usage as pydantic sees them; see `schemas` for the rest."""

from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from api_min.schemas import _In, _Out

MESSAGE_MAX = 1_600

_MESSAGE: JsonDict = {
    "from": "+14155559876",
    "to": "+14155551234",
    "message": "Your appointment is confirmed for tomorrow at 2pm.",
}


class MessageIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [_MESSAGE]})

    from_: str = Field(alias="from", description="an owned, active SMS number, E.164")
    to: str = Field(description="E.164")
    message: str = Field(min_length=1, max_length=MESSAGE_MAX)
    media_urls: list[str] | None = Field(None, description="https addresses, at most 10; any makes it an MMS")
    purpose: Literal["marketing", "informational"] | None = Field(None, description="without it, marketing")


class QueuedOut(_Out):
    id: str = Field(examples=["msg_01hq3v8x2k4tz"])
    status: Literal["queued"]
    segments: int
    encoding: Literal["GSM-7", "UCS-2"] | None = Field(description="null for an MMS")
    warnings: list[str] = Field(description="rules of the content scan that this text only just passes")


class MessageOut(_Out):
    id: str
    direction: Literal["outbound", "inbound"]
    from_: str | None = Field(alias="from")
    to: str
    message: str
    status: str = Field(
        description="queued, sending, sent, delivered, failed, unknown, suppressed, content_rejected, cancelled;"
        " received when it came in"
    )
    segments: int
    encoding: str | None
    media_urls: list[str]
    error_code: str | None
    reason: str | None
    created_at: str | None
    sent_at: str | None
    delivered_at: str | None
    failed_at: str | None
    next_attempt_at: str | None
    campaign_id: str | None
    prospect_id: str | None


class MessagesOut(_Out):
    messages: list[MessageOut]
    next_cursor: str | None


class PreviewIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [{"first_name": "Ann"}]}]})

    limit: int | None = Field(None, ge=1, le=100, description="how many of the campaign's own prospects; default 5")
    data: list[dict[str, Any]] | None = Field(None, max_length=100, description="instead: rows as an import has them")


class FindingOut(_Out):
    rule: str
    level: Literal["warn", "block"]
    reason: str


class ScanOut(_Out):
    verdict: Literal["allow", "warn", "block"]
    rules_version: str
    findings: list[FindingOut]


class SampleOut(_Out):
    to: str | None
    prospect_id: str | None
    message: str | None = Field(description="null when a value is missing")
    missing: list[str]
    segments: int | None
    encoding: str | None
    scan: ScanOut | None


class PreviewOut(_Out):
    fields: list[str] = Field(description="what the message takes from a prospect's data")
    scan: ScanOut = Field(description="of the message with its defaults, as judged at start")
    samples: list[SampleOut]


class MeterOut(_Out):
    meter: str
    display_name: str
    total: int


class UsageOut(_Out):
    usage: list[MeterOut]
    from_: str = Field(alias="from")
    to: str
