"""Reputation: what the analytics engines of the networks say of the account's numbers."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min import operating
from api_min.auth import Caller, needs
from api_min.deps import Deps, Held
from api_min.did_schemas import OperationOut, ReputationOut, ReputationsOut
from api_min.replies import Page, moment, reply
from api_min.routing import ApiRoute
from engine.coordinator.operations import provider_of
from engine.errors import NotFound
from engine.rules.operation import Kind
from engine.store import accounts, operations, reputation
from engine.store.operations import Operation
from engine.store.reputation import Checked

router = APIRouter(prefix="/reputation", tags=["reputation"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]


@router.get("", response_model=ReputationsOut, response_model_exclude_none=True)
async def list_reputations(caller: Reader, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """The newest finding on each number that was checked; every number is, once a day."""
    page = Page("did", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await reputation.list_checked(conn, caller.account_id, page.fetch, page.after)
    return page.reply("reputations", rows, [_show(row) for row in rows])


@router.get("/{number}", response_model=ReputationOut, responses={202: {"model": OperationOut}})
async def get_reputation(number: str, caller: Reader, held: Held) -> Response:
    """The newest finding on one number. If there is none yet the engines are asked, which may take a moment: 202."""
    found = await _find(held, caller, number)
    if found.checked_at is None:
        operation = await operating.outcome(held, await _ask(held, caller, found))
        if not operation.is_over:
            return operating.accepted(operation)
        found = await _find(held, caller, number)
    return reply(_show(found))


async def _find(held: Deps, caller: Caller, number: str) -> Checked:
    async with held.runtime.reader.connect() as conn:
        found = await reputation.find(conn, caller.account_id, number)
    if found is None:
        raise NotFound("there is no such number in your account")
    return found


async def _ask(held: Deps, caller: Caller, found: Checked) -> Operation:
    runtime = held.runtime
    now = runtime.clock.now()
    async with runtime.db.begin() as conn:
        account = await accounts.get(conn, caller.account_id)
        settings = account.settings if account else {}
        provider = provider_of(settings.get("reputation"), "carrier" in settings, runtime.settings.reputation_provider)
        if not provider:
            raise NotFound("nobody is asked for the reputation of this account's numbers: it has no provider")
        request = {"number": found.number, "did_id": found.did_id}
        operation = await operations.ask(
            conn, caller.account_id, Kind.REPUTATION, provider, request, now, actor=caller.actor
        )
    assert operation is not None  # it bears no name that another could have
    return operation


def _show(found: Checked) -> dict[str, object]:
    return {
        "number": found.number,
        "flagged": found.flagged,
        "overallScore": found.overall_score,
        "providers": found.providers,
        "checkedAt": moment(found.checked_at),
    }
