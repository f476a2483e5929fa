"""What goes in and out of the lists of who may be contacted: suppressions and consents."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api_min.schemas import _In, _Out

MOST_PHONES = 10_000
MOST_CONSENTS = 1_000

Scope = Literal["all", "voice", "sms"]
ConsentClass = Literal["none", "express", "express_written"]


class SuppressionIn(_In):
    """One `phone`, or up to 10,000 `phones`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"phone": "+17145550101", "reason": "asked by e-mail"}]})

    phone: str | None = Field(None, description="E.164")
    phones: Annotated[list[Any], Field(min_length=1, max_length=MOST_PHONES, description="E.164")] | None = None
    reason: str = Field("", max_length=500)
    source: str = Field("api", min_length=1, max_length=60, description="where you know it from")
    channel: Scope = "all"


class SuppressionOut(_Out):
    phone: str
    suppressed: bool
    channel: Scope | None = None
    reason: str | None = None
    source: str | None = None
    created_at: str | None = None


class SuppressedOut(_Out):
    """`added` counts those that were not suppressed before, or not on this channel. Of one phone its record as well."""

    added: int


class SuppressionsOut(_Out):
    """Either a page of the list, or, with `phone`, that number."""

    suppressions: list[SuppressionOut] | None = None
    next_cursor: str | None = None


class ConsentItem(_In):
    phone: str = Field(description="E.164")
    class_: ConsentClass = Field(alias="class", description="`none` takes back what was given before")
    channel: Scope = "all"
    source: str = Field("api", min_length=1, max_length=200, description="the form, the call, the list")
    at: str | None = Field(None, description="when it was given, ISO 8601, UTC without an offset; without it, now")
    proof: str = Field("", max_length=4_000, description="the words agreed to, or the address of a record")


class ConsentIn(_In):
    """One consent, or up to 1,000 `consents`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"phone": "+17145550101", "class": "express_written", "source": "web form 12", "proof": "…"}]
        }
    )

    phone: str | None = Field(None, description="E.164")
    class_: ConsentClass | None = Field(None, alias="class")
    channel: Scope = "all"
    source: str = Field("api", min_length=1, max_length=200)
    at: str | None = None
    proof: str = Field("", max_length=4_000)
    consents: Annotated[list[ConsentItem], Field(min_length=1, max_length=MOST_CONSENTS)] | None = None

    def items(self) -> list[ConsentItem]:
        """What is to be recorded; empty when neither form is whole."""
        if self.consents is not None:
            return self.consents
        if self.phone is None or self.class_ is None:
            return []
        given = {name: getattr(self, name) for name in ("phone", "channel", "source", "at", "proof")}
        return [ConsentItem.model_validate(given | {"class": self.class_})]


class RecordedOut(_Out):
    recorded: int
    ids: list[str]


class ConsentOut(_Out):
    id: str
    phone: str
    class_: ConsentClass = Field(alias="class")
    channel: Scope
    source: str
    proof: str
    given_at: str
    recorded_at: str
    revoked_at: str | None = None
    revoked_for: str | None = None


class ConsentsOut(_Out):
    """With `phone`, `inForce` says what stands on each channel."""

    consents: list[ConsentOut]
    in_force: dict[str, ConsentClass] | None = None
    next_cursor: str | None = None


class RevokedOut(_Out):
    phone: str
    channel: Scope
    revoked: int
