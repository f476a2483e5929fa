"""Campaigns (reference 004): create, list, read, and the four actions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import PlainValidator
from sqlalchemy.ext.asyncio import AsyncConnection

from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.replies import Page, moment, parse_id, reply
from api_min.routing import ApiRoute
from api_min.schemas import CampaignDetailOut, CampaignIn, CampaignOut, CampaignsOut, StatsOut
from api_min.wake import wake
from engine.carriers.catalog import is_simulated
from engine.errors import InvalidInput
from engine.rules.campaign import Action
from engine.rules.campaign_config import CampaignConfig, VoiceMode, parse_campaign
from engine.rules.compliance import parse_compliance
from engine.rules.pacing import Figure
from engine.rules.purpose import Purpose
from engine.rules.registry import NATIONAL, check_copy
from engine.rules.stats import wire
from engine.store import accounts, audit, call_hours, campaigns, counts, registries
from engine.store.campaigns import Campaign, NewCampaign

router = APIRouter(prefix="/campaigns", tags=["campaigns"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("campaigns:read")]
Writer = Annotated[Caller, needs("campaigns:write")]
# Described by CampaignIn, validated by the rules: their faults name the value and the remedy.
CampaignBody = Annotated[Any, PlainValidator(lambda body: body, json_schema_input_type=CampaignIn), Body()]


@router.post("", status_code=201, response_model=CampaignOut)
async def create_campaign(body: CampaignBody, caller: Writer, held: Held) -> Response:
    """Unknown fields are refused, and named: a mistyped limit must not be ignored."""
    runtime = held.runtime
    config = parse_campaign(body, runtime.settings.max_calls_per_second)
    now = runtime.clock.now()
    async with runtime.db.begin() as conn:
        account = await accounts.get(conn, caller.account_id)
        _check_purpose(config, caller, account.settings if account else {})
        carrier = carrier_for(caller, account.settings if account else {}, runtime.settings.test_carrier)
        campaign = await campaigns.create(conn, caller.account_id, _new(config, caller, carrier), now)
        await audit.record(conn, caller.account_id, caller.actor, "campaign.create", campaign.public_id, now)
    return reply(show(campaign), 201)


@router.get("", response_model=CampaignsOut, response_model_exclude_none=True)
async def list_campaigns(caller: Reader, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """All campaigns, oldest first; in pages with `limit` or `cursor`."""
    page = Page("camp", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await campaigns.list_campaigns(conn, caller.account_id, page.fetch, page.after)
    return page.reply("campaigns", rows, [show(row) for row in rows])


@router.get("/{campaign_id}", response_model=CampaignDetailOut)
async def get_campaign(campaign_id: str, caller: Reader, held: Held) -> Response:
    """The campaign as it was configured, with its exact stats."""
    async with held.runtime.reader.connect() as conn:
        campaign = await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))
        stats = await read_stats(conn, campaign.id, held.runtime.clock.now())
    return reply(show(campaign) | {"stats": stats} | _show_configuration(campaign))


@router.get("/{campaign_id}/stats", response_model=StatsOut)
async def get_stats(campaign_id: str, caller: Reader, held: Held) -> Response:
    """Exact at any moment and any size."""
    async with held.runtime.reader.connect() as conn:
        campaign = await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))
        return reply(await read_stats(conn, campaign.id, held.runtime.clock.now()))


@router.post("/{campaign_id}/start", response_model=CampaignOut)
async def start_campaign(campaign_id: str, caller: Writer, held: Held) -> Response:
    """Only from `created`. An SMS campaign needs `mode.message`; `mode.ai` needs an agent."""
    return await _act(campaign_id, Action.START, caller, held)


@router.post("/{campaign_id}/pause", response_model=CampaignOut)
async def pause_campaign(campaign_id: str, caller: Writer, held: Held) -> Response:
    """Only from `dialing`. No new contact begins after this has answered; calls in progress go on."""
    return await _act(campaign_id, Action.PAUSE, caller, held)


@router.post("/{campaign_id}/resume", response_model=CampaignOut)
async def resume_campaign(campaign_id: str, caller: Writer, held: Held) -> Response:
    """Only from `paused`."""
    return await _act(campaign_id, Action.RESUME, caller, held)


@router.post("/{campaign_id}/cancel", response_model=CampaignOut)
async def cancel_campaign(campaign_id: str, caller: Writer, held: Held) -> Response:
    """For good. Queued prospects are cancelled; no new contact begins after this has answered."""
    return await _act(campaign_id, Action.CANCEL, caller, held)


def show(campaign: Campaign) -> dict[str, object]:
    return {
        "id": campaign.public_id,
        "name": campaign.name,
        "status": campaign.status,
        "channel": campaign.channel,
    }


async def read_stats(conn: AsyncConnection, campaign_id: int, now: datetime) -> dict[str, float]:
    figures = await call_hours.figures(conn, [campaign_id], now)
    return wire(await counts.read(conn, campaign_id), figures.get(campaign_id, Figure()).rate)


def parse_campaign_id(text: str) -> int:
    return parse_id("camp", text, "campaign")


def carrier_for(caller: Caller, settings: Mapping[str, object], test_carrier: str) -> str:
    """Test keys never leave the simulated network. Raises InvalidInput when a live key's account has no carrier."""
    if not caller.is_live:
        return test_carrier
    carrier = settings.get("carrier")
    if not isinstance(carrier, str) or not carrier:
        raise InvalidInput(
            "this account has no carrier for live traffic: have your operator set one, or use a tk_test_… key",
            {"carrier": "is not configured for this account"},
        )
    return carrier


def _check_purpose(config: CampaignConfig, caller: Caller, settings: Mapping[str, object]) -> None:
    """An emergency knows no legal hours: with a live key only an account that its operator allows may claim one."""
    if config.purpose is Purpose.EMERGENCY and caller.is_live and settings.get("emergency") is not True:
        fault = "'emergency' is not allowed to this account: have your operator set \"emergency\" in its settings"
        raise InvalidInput(f"purpose: {fault}", {"purpose": fault})


async def _check_registries(campaign_id: str, caller: Caller, held: Held) -> None:
    """Raises InvalidInput for a marketing campaign that could contact nobody for want of a registry's copy."""
    now = held.runtime.clock.now()
    async with held.runtime.reader.connect() as conn:
        campaign = await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))
        account = await accounts.get(conn, caller.account_id)
        settings = account.settings if account else {}
        compliance = parse_compliance(
            settings.get("compliance"), is_real=campaign.is_live and not is_simulated(campaign.carrier)
        )
        if compliance.requires_registry and campaign.purpose is Purpose.MARKETING:
            check_copy(await registries.dates(conn), NATIONAL, now.date())


async def _act(campaign_id: str, action: Action, caller: Caller, held: Held) -> Response:
    runtime = held.runtime
    if action in (Action.START, Action.RESUME):
        await _check_registries(campaign_id, caller, held)
    campaign = await campaigns.transition(
        runtime.db,
        caller.account_id,
        parse_campaign_id(campaign_id),
        action,
        runtime.clock.now(),
        actor=caller.actor,
        ticket_s=runtime.settings.ticket_s,
    )
    if action in (Action.START, Action.RESUME):
        await wake(runtime.redis, campaign.id)
    return reply(show(campaign))


def _new(config: CampaignConfig, caller: Caller, carrier: str) -> NewCampaign:
    sent = config.to_json()
    strategy, schedule, cap = sent.get("callerIdStrategy"), sent.get("schedule"), sent.get("frequencyCap")
    return NewCampaign(
        name=config.name,
        channel=config.channel,
        purpose=config.purpose,
        is_live=caller.is_live,
        carrier=carrier,
        mode=config.mode.to_json() or {},
        caller_ids=config.caller_ids,
        caller_id_strategy=strategy if isinstance(strategy, Mapping) else None,
        schedule=schedule if isinstance(schedule, Mapping) else None,
        frequency_cap=cap if isinstance(cap, Mapping) else None,
        calls_per_second=config.mode.calls_per_second if isinstance(config.mode, VoiceMode) else 1.0,
    )


def _show_configuration(campaign: Campaign) -> dict[str, object]:
    return {
        "purpose": campaign.purpose,
        "mode": campaign.mode,
        "callerIds": campaign.caller_ids,
        "callerIdStrategy": campaign.caller_id_strategy,
        "schedule": campaign.schedule,
        "frequencyCap": campaign.frequency_cap,
        "statusReason": campaign.status_reason or None,
        "createdAt": moment(campaign.created_at),
        "startedAt": moment(campaign.started_at),
        "endedAt": moment(campaign.ended_at),
    }
