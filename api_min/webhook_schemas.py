"""What goes in and out of the webhooks' routes, as pydantic sees it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api_min.schemas import _In, _Out

Globs = Annotated[list[str], Field(max_length=1_000, description="`*`, a channel such as `sms.*`, or a name")]
Url = Annotated[str, Field(max_length=10_000, description="https, at a public address")]

LONGEST_OVERLAP_S = 7 * 86_400
OVERLAP_S = 86_400


class WebhookIn(_In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/hooks", "events": ["sms.*", "voice.completed"]}]}
    )

    url: Url
    events: Globs
    ordered: bool = Field(False, description="one at a time, in order; one that fails holds up the rest")


class RotateIn(_In):
    overlap_s: int = Field(
        OVERLAP_S, ge=0, le=LONGEST_OVERLAP_S, alias="overlapSeconds", description="the old secret signs beside the new"
    )


class WebhookChangeIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"active": False}, {"rotateSecret": True}]})

    url: Url | None = None
    events: Globs | None = None
    ordered: bool | None = None
    active: bool | None = Field(None, description="false pauses it; what happens meanwhile is sent afterwards")
    rotate_secret: bool | RotateIn | None = Field(None, description="true, or `{overlapSeconds}` (default 86400)")


class WebhookOut(_Out):
    id: str = Field(examples=["whk_01hq3v8x2k4tz"])
    url: str
    events: list[str]
    ordered: bool
    active: bool
    disabled_reason: str | None
    failures: int = Field(description="in a row")
    parked_until: str | None
    created_at: str


class NewWebhookOut(WebhookOut):
    secret: str = Field(examples=["whsec_…"], description="shown this once")


class WebhooksOut(_Out):
    webhooks: list[WebhookOut]
    next_cursor: str | None = Field(None, description="only with `limit` or `cursor`; null on the last page")


class DeliveryOut(_Out):
    id: str = Field(examples=["log_01hq3v8x2k4tz"])
    event_id: str = Field(examples=["evt_01hq3v8x2k4tz0000000000042"])
    event_type: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    response_code: int | None
    error: str | None
    next_attempt_at: str | None
    created_at: str
    finished_at: str | None


class DeliveriesOut(_Out):
    logs: list[DeliveryOut]
    next_cursor: str | None
