"""What one contact says: a campaign's text with the prospect's data in it, or the text of a one-off message."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from engine.dispatch.campaigns import CampaignFacts
from engine.rules import content, segments, template
from engine.rules.campaign_config import SmsMode

SUPPRESSED, CONTENT_REJECTED = "suppressed", "content_rejected"


class Message(NamedTuple):
    """As it will be sent. An MMS is one part, whatever its text."""

    text: str
    media_urls: tuple[str, ...] = ()
    segments: int = 1
    encoding: str | None = None


class Unfit(NamedTuple):
    """It cannot be sent to this person: held until its `missing` data comes, or `rejected` for good."""

    reason: str
    is_missing: bool


def compose(campaign: CampaignFacts, data: Mapping[str, object] | None) -> Message | Unfit:
    """The message of an SMS campaign for one prospect.

    A one-off text was judged when it was accepted. A campaign's was at its start, and is again with what people's data
    make of it.
    """
    if campaign.is_direct:
        return one_off(data or {})
    assert isinstance(campaign.mode, SmsMode)
    found = campaign.mode.template
    text = campaign.mode.message or ""
    if found.fields:
        values = template.values_of(data)
        if missing := found.missing(values):
            return Unfit(template.hold_reason(missing), is_missing=True)
        text = found.render(values)
    if content.scan(text, campaign.policy).verdict is content.Level.BLOCK:
        return Unfit(CONTENT_REJECTED, is_missing=False)
    return _plain(text)


def one_off(data: Mapping[str, object]) -> Message:
    """The message that a one-off prospect's row holds."""
    text, media = str(data.get("message", "")), data.get("mediaUrls")
    if isinstance(media, list) and media:
        return Message(text, tuple(map(str, media)))
    return _plain(text)


@lru_cache(maxsize=1024)
def _plain(text: str) -> Message:
    size = segments.count(text)
    return Message(text, (), size.parts, size.encoding)
