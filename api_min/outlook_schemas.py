"""What explanations and forecasts look like."""

from typing import Any

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
