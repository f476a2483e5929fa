"""What goes in and out of the DID pool: buying, health, reputation, operations."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api_min.schemas import DidOut, _In, _Out


class NumberOfferOut(_Out):
    number: str = Field(examples=["+19495550100"])
    area_code: str
    city: str
    state: str
    cost: float = Field(description="US dollars a month")


class OffersOut(_Out):
    available: list[NumberOfferOut]


class PurchaseIn(_In):
    numbers: Annotated[list[str], Field(min_length=1, max_length=100, description="E.164, as found by a search")]


class RefusedNumberOut(_Out):
    number: str
    reason: str


class PurchaseOut(_Out):
    purchased: list[DidOut]
    failed: list[RefusedNumberOut]


class ReleasedOut(_Out):
    number: str
    state: Literal["released"]


class OperationOut(_Out):
    """Something that a worker does at a carrier. `result` when it is done, `error` when it has failed."""

    id: str = Field(examples=["op_01hq3v8x2k4tz"])
    kind: Literal["did.search", "did.purchase", "did.release", "reputation.check"]
    status: Literal["pending", "done", "failed"]
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created_at: str
    finished_at: str | None = None


class CapsOut(_Out):
    per_hour: int
    per_day: int
    gap_s: int = Field(description="seconds between two calls")


class DidHealthOut(_Out):
    """`score` and each of `factors` are 0 to 1; null while there is nothing to judge by."""

    number: str
    state: Literal["warming", "active", "cooling", "burned", "quarantine"]
    reason: str = Field(description="why it came to its state; empty: registered so")
    until: str | None = Field(description="when the state ends by itself")
    score: float | None
    band: Literal["healthy", "reduced", "tired", "burned"]
    factors: dict[str, float] | None
    calls: int = Field(description="in the window, at most 50")
    sms_score: float | None
    texts: dict[str, int] = Field(description="of the last seven days")
    caps: CapsOut
    used: dict[str, int] = Field(description="calls in the sliding hour and day")
    flags: int


class EngineVerdictOut(_Out):
    name: str
    flagged: bool
    spam_score: float = Field(ge=0, le=1)
    complaints: int
    details: str
    checked_at: str


class ReputationOut(_Out):
    number: str
    flagged: bool
    overall_score: float = Field(ge=0, le=1, description="1: clean")
    providers: list[EngineVerdictOut]
    checked_at: str


class ReputationsOut(_Out):
    reputations: list[ReputationOut]
