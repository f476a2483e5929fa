"""One-off calls: the same fenced path as a campaign's, one prospect at a time."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from api_min.auth import Caller, needs
from api_min.contact import check_hours, check_numbers, check_person, one_off_kind
from api_min.deps import Held
from api_min.idempotent import HEADER
from api_min.replies import moment, parse_id, reply
from api_min.routes.campaigns import carrier_for
from api_min.routing import ApiRoute
from api_min.schemas import CallIn, CallOut
from api_min.wake import wake
from engine import ids
from engine.errors import InvalidInput, NotFound
from engine.store import accounts, audit, calls, campaigns, suppressions
from engine.store.accounts import Account
from engine.store.calls import Call

router = APIRouter(prefix="/voice", tags=["voice"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("voice:read")]
Writer = Annotated[Caller, needs("voice:call")]


@router.post("", status_code=201, response_model=CallOut)
async def create_call(body: CallIn, caller: Writer, held: Held, request: Request) -> Response:
    """With `systemPrompt` an AI call, which needs the account's agent. Outside legal hours: refused, not queued."""
    runtime = held.runtime
    now = runtime.clock.now()
    check_numbers(body.from_, body.to)
    check_hours("voice", body.to, now)
    async with runtime.db.begin() as conn:
        account = await accounts.get(conn, caller.account_id)
        _check_agent(body, account)
        settings = account.settings if account else {}
        carrier = carrier_for(caller, settings, runtime.settings.test_carrier)
        if not await suppressions.is_suppressed(conn, caller.account_id, body.to, "voice"):
            kind = one_off_kind("voice", body.purpose, caller, carrier, settings)
            await check_person(conn, caller, kind, body.to, now)
        home = await campaigns.direct(conn, caller.account_id, "voice", caller.is_live, carrier, now)
    parameters = body.model_dump(by_alias=True, exclude_none=True, exclude={"from_", "to"})
    key = request.headers.get(HEADER)
    call_id = await calls.create_call(
        runtime.db,
        caller.account_id,
        body.from_,
        body.to,
        parameters,
        now,
        is_live=caller.is_live,
        carrier=carrier,
        request_name=f"{caller.key_id} {key}" if key else "",
    )
    await wake(runtime.redis, home.id)
    public_id = ids.encode("call", call_id)
    async with runtime.db.begin() as conn:
        await audit.record(conn, caller.account_id, caller.actor, "call.create", public_id, now, {"to": body.to})
    return reply({"id": public_id, "status": "queued", "from": body.from_, "to": body.to}, 201)


@router.get("/{call_id}", response_model=CallOut)
async def get_call(call_id: str, caller: Reader, held: Held) -> Response:
    """The call and what its latest attempt says."""
    number = parse_id("call", call_id, "call")
    async with held.runtime.reader.connect() as conn:
        call = await calls.get_call(conn, caller.account_id, number)
    if call is None:
        raise NotFound("there is no such call")
    return reply(_show(call))


def _check_agent(body: CallIn, account: Account | None) -> None:
    if body.system_prompt is not None and (account is None or account.agent is None):
        fault = "makes this an AI call, which needs an agent target on the account; it has none"
        raise InvalidInput(f"systemPrompt: {fault}", {"systemPrompt": fault})


def _show(call: Call) -> dict[str, object]:
    return {
        "id": call.public_id,
        "status": call.status,
        "from": call.from_number,
        "to": call.to,
        "outcome": call.outcome.label if call.outcome else None,
        "reason": call.reason,
        "amd": call.amd,
        "placedAt": moment(call.placed_at),
        "answeredAt": moment(call.answered_at),
        "endedAt": moment(call.ended_at),
        "duration": call.duration_s,
        **call.parameters,
    }
