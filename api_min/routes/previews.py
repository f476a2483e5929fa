"""What an SMS campaign would say: its text with people's data in it, counted and scanned. Nothing is sent."""

from collections.abc import Mapping

from fastapi import APIRouter, Response

from api_min.deps import Held
from api_min.replies import reply
from api_min.routes.campaigns import Reader, parse_campaign_id
from api_min.routing import ApiRoute
from api_min.sms_schemas import PreviewIn, PreviewOut
from engine.errors import InvalidInput
from engine.ids import encode
from engine.rules import content, segments, template
from engine.rules.campaign_config import SmsMode, parse_mode
from engine.rules.content import Policy, Scan
from engine.rules.template import Template
from engine.store import accounts, campaigns, prospects
from engine.store.campaigns import Campaign

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["campaigns"], route_class=ApiRoute)

_DEFAULT_SAMPLES = 5


@router.post("/preview", response_model=PreviewOut)
async def preview_campaign(campaign_id: str, body: PreviewIn, caller: Reader, held: Held) -> Response:
    """Samples for the first of the campaign's own prospects, or for rows of `data`, with segments and the scan."""
    async with held.runtime.reader.connect() as conn:
        campaign = await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))
        account = await accounts.get(conn, caller.account_id)
        found = _text_of(campaign)
        rows = [] if body.data is not None else await prospects.page(conn, campaign, body.limit or _DEFAULT_SAMPLES)
    settings = account.settings.get("content") if account else None
    policy = content.policy_of(settings, is_live=campaign.is_live)
    if body.data is not None:
        samples = [{"to": None, "prospectId": None} | _sample(found, row, policy) for row in body.data]
    else:
        samples = [{"to": row.phone, "prospectId": row.public_id} | _sample(found, row.data, policy) for row in rows]
    answer: dict[str, object] = {
        "campaignId": encode("camp", campaign.id),
        "fields": list(dict.fromkeys(field.name for field in found.fields)),
        "scan": _show(content.scan(found.sample(), policy)),
        "samples": samples,
    }
    return reply(answer)


def _text_of(campaign: Campaign) -> Template:
    """Raises InvalidInput for a campaign that has no text."""
    mode = parse_mode(campaign.channel, campaign.mode)
    if not isinstance(mode, SmsMode) or mode.message is None:
        fault = "is a voice campaign" if campaign.channel == "voice" else "has no mode.message"
        raise InvalidInput(f"the campaign {fault}: there is no text to preview", {"mode.message": fault})
    return mode.template


def _sample(found: Template, data: Mapping[str, object] | None, policy: Policy) -> dict[str, object]:
    values = template.values_of(data)
    if missing := found.missing(values):
        return {"message": None, "missing": list(missing), "segments": None, "encoding": None, "scan": None}
    text = found.render(values)
    size = segments.count(text)
    return {
        "message": text,
        "missing": [],
        "segments": size.parts,
        "encoding": size.encoding,
        "scan": _show(content.scan(text, policy)),
    }


def _show(scan: Scan) -> dict[str, object]:
    findings = [{"rule": each.rule, "level": each.level.label, "reason": each.reason} for each in scan.findings]
    return {"verdict": scan.verdict.label, "rulesVersion": scan.version, "findings": findings}
