"""What would happen: why somebody is or is not contacted now, and when a campaign will end."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api_min.deps import Held
from api_min.outlook_schemas import ExplanationOut, ForecastOut
from api_min.replies import moment, parse_id, reply
from api_min.routes.campaigns import Reader, parse_campaign_id
from api_min.routing import ApiRoute
from engine import ids
from engine.clock import iso
from engine.errors import NotFound
from engine.outlook.explain import Explanation, explain
from engine.outlook.forecast import Outlook, look_ahead
from engine.outlook.words import Check
from engine.rules.phone import is_e164
from engine.rules.states import rules
from engine.store import campaigns, prospects
from engine.store.campaigns import Campaign
from engine.store.prospects import Prospect

POINTS = 49  # of a forecast's course

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["outlook"], route_class=ApiRoute)


@router.get("/prospects/{prospect_id}/explain", response_model=ExplanationOut)
async def explain_prospect(campaign_id: str, prospect_id: str, caller: Reader, held: Held) -> Response:
    """Would this person be contacted now, why, from which number, and when next? `prospect_id` or an E.164 number.

    The rules are those of the contact itself, asked without their locks: the next moment may be another.
    """
    async with held.runtime.reader.connect() as conn:
        campaign = await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))
        prospect = await _find(conn, campaign, prospect_id)
    return reply(_show(prospect, await explain(held.runtime, campaign, prospect)))


@router.get("/forecast", response_model=ForecastOut)
async def forecast_campaign(campaign_id: str, caller: Reader, held: Held) -> Response:
    """The rest of the campaign on a virtual clock, by the engine's own rules: when it ends, and what holds it back."""
    async with held.runtime.reader.connect() as conn:
        campaign = await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))
    async with held.forecasts.take(caller.account_id):
        return reply(_show_forecast(campaign, await look_ahead(held.runtime, campaign)))


async def _find(conn: AsyncConnection, campaign: Campaign, name: str) -> Prospect:
    if is_e164(name):
        found = await prospects.by_phone(conn, campaign, name)
    else:
        found = await prospects.get(conn, campaign, parse_id("pros", name, "prospect"))
    if found is None:
        raise NotFound("there is no such prospect in this campaign")
    return found


def _show(prospect: Prospect, found: Explanation) -> dict[str, object]:
    did = found.sender.did
    return {
        "campaignId": ids.encode("camp", prospect.campaign_id),
        "prospectId": prospect.public_id,
        "phone": prospect.phone,
        "at": moment(found.at),
        "wouldContact": found.would_contact,
        "answer": found.answer,
        "from": {"number": did.number, "because": found.sender.because} if did else None,
        "nextAt": moment(found.next_at),
        "next": found.next,
        "rulesVersion": found.rules_version,
        "checks": [_show_check(check) for check in found.checks],
    }


def _show_forecast(campaign: Campaign, found: Outlook) -> dict[str, object]:
    course = found.course
    return {
        "campaignId": campaign.public_id,
        "status": campaign.status,
        "at": moment(found.at),
        "finishAt": _moment(course.finish_s),
        "lastContactAt": _moment(course.last_contact_s),
        "waiting": found.waiting,
        "underWay": found.under_way,
        "held": course.held + found.lacking_data,
        "contacts": course.contacts,
        "heldBackBy": course.held_back_by,
        "holding": {cause: round(seconds, 1) for cause, seconds in course.holding.items() if seconds >= 1},
        "basis": {
            "source": found.basis.source,
            "attempts": found.basis.attempts,
            "outcomes": {name: round(share, 4) for name, share in found.basis.shares.items()},
        },
        "points": [
            {"at": _moment(point.at_s), "contacts": point.contacts, "done": point.done}
            for point in course.at_even_distances(POINTS)
        ],
        "rulesVersion": rules().version,
    }


def _moment(at_s: float | None) -> str | None:
    return None if at_s is None else iso(datetime.fromtimestamp(at_s, UTC))


def _show_check(check: Check) -> dict[str, object]:
    return {"check": check.name, "passed": check.passed, "says": check.says, "facts": check.facts}
