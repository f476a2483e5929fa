"""The event of a prospect that is left alone."""

from datetime import datetime

from engine.ids import encode
from engine.rules.events import Event


def dnc_event(campaign_id: int, prospect_id: int, phone: str, reason: str, now: datetime) -> Event:
    """`reason`: `suppressed` when the intent found it on the list, `opted_out` when the person has just said so."""
    return Event(
        type="campaign.prospect.dnc",
        at=now,
        payload={
            "campaignId": encode("camp", campaign_id),
            "prospectId": encode("pros", prospect_id),
            "phone": phone,
            "reason": reason,
        },
        unique_id=encode("pros", prospect_id),
    )
