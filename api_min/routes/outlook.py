"""What would happen: why somebody is or is not contacted now."""

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api_min.deps import Held
from api_min.outlook_schemas import ExplanationOut
from api_min.replies import moment, parse_id, reply
from api_min.routes.campaigns import Reader, parse_campaign_id
from api_min.routing import ApiRoute
from engine import ids
from engine.errors import NotFound
from engine.outlook.explain import Explanation, explain
from engine.outlook.words import Check
from engine.rules.phone import is_e164
from engine.store import campaigns, prospects
from engine.store.campaigns import Campaign
from engine.store.prospects import Prospect

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


def _show_check(check: Check) -> dict[str, object]:
    return {"check": check.name, "passed": check.passed, "says": check.says, "facts": check.facts}
