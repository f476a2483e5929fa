"""What explanations and forecasts look like."""

from typing import Any, Literal

from pydantic import Field

from api_min.schemas import _Out


class CheckOut(_Out):
    check: str = Field(examples=["window"])
    passed: bool
    says: str = Field(examples=["it is Wed 14:00 in America/New_York: open until 2026-03-12T01:00:00.000Z"])
    facts: dict[str, Any] = Field(description="what the check went by")


class ChosenNumberOut(_Out):
    number: str
    because: str


class BasisOut(_Out):
    """What the outcomes of the coming contacts are taken from."""

    source: Literal["campaign", "account", "typical"]
    attempts: int
    outcomes: dict[str, float] = Field(description="shares; they add up to 1")


class PointOut(_Out):
    at: str
    contacts: int
    done: int


class ForecastOut(_Out):
    campaign_id: str
    status: str = Field(description="one that is not dialing is taken as if it were from now on")
    at: str
    finish_at: str | None = Field(description="null: not within two years")
    last_contact_at: str | None = Field(description="when the last call or text begins")
    waiting: int
    under_way: int
    held: int = Field(description="people who would never be contacted, and keep the campaign open")
    contacts: int = Field(description="calls or texts still to come, retries included")
    held_back_by: str | None = Field(examples=["window"])
    holding: dict[str, float] = Field(description="seconds for which each of these was what held it back")
    basis: BasisOut
    points: list[PointOut] = Field(description="how it goes, from now to its end, at even distances")
    rules_version: str


class ExplanationOut(_Out):
    campaign_id: str
    prospect_id: str
    phone: str
    at: str
    would_contact: bool
    answer: str = Field(description="in one sentence; the first check that has not passed is the reason")
    from_: ChosenNumberOut | None = Field(alias="from", description="the number that would be used")
    next_at: str | None
    next: str = Field(description="when next, in words")
    rules_version: str
    checks: list[CheckOut] = Field(description="in the order in which the engine decides")
