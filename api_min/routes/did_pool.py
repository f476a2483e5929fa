"""The DID pool: numbers searched and bought at the carrier, given back, and their health.

The api calls no carrier. It writes down what is wanted, a worker does it, and the request waits for the result for some
seconds; when that is not enough it answers 202 with the operation's URL.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api_min import operating
from api_min.auth import Caller, needs
from api_min.deps import Deps, Held
from api_min.did_schemas import DidHealthOut, OffersOut, OperationOut, PurchaseIn, PurchaseOut, ReleasedOut
from api_min.replies import moment, reply
from api_min.routes.campaigns import carrier_for
from api_min.routes.dids import show
from api_min.routing import ApiRoute
from engine.errors import Conflict, InvalidInput, NotFound
from engine.rules import did_caps, did_health, did_pool
from engine.rules.area_codes import area_codes
from engine.rules.did_caps import Usage
from engine.rules.did_policy import caps
from engine.rules.did_pool import Cause, DidState
from engine.rules.operation import Kind
from engine.rules.phone import is_e164
from engine.store import accounts, audit, did_trade, dids, operations
from engine.store import did_caps as caps_store
from engine.store import did_health as health_store
from engine.store import did_pool as pool_store
from engine.store.did_health import Record
from engine.store.did_pool import Numbered
from engine.store.operations import Operation

router = APIRouter(prefix="/dids", tags=["dids"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]
Writer = Annotated[Caller, needs("dids:manage")]

TICKET_GRACE_S = 0.2
MOST_OFFERS = 100
_DAY_S = 86_400
_PENDING: dict[int | str, dict[str, Any]] = {202: {"model": OperationOut}}


@router.get("/search", response_model=OffersOut, responses=_PENDING)
async def search(
    caller: Reader,
    held: Held,
    area_code: Annotated[str, Query(alias="areaCode")] = "",
    quantity: int = 10,
    contains: str = "",
) -> Response:
    """Numbers that your carrier has on offer."""
    _check_search(area_code, quantity, contains)
    request = {"area_code": area_code, "contains": contains, "quantity": quantity}
    operation = await operating.outcome(held, await _ask(held, caller, request))
    return reply(operation.result) if operation.is_over and operation.result else operating.accepted(operation)


@router.post("/purchase", status_code=201, response_model=PurchaseOut, responses=_PENDING)
async def purchase(body: PurchaseIn, caller: Writer, held: Held) -> Response:
    """Buys numbers. They start in `warming`: few calls a day at first, more each week."""
    _check_numbers(body.numbers)
    runtime = held.runtime
    now = runtime.clock.now()
    async with runtime.db.begin() as conn:
        carrier = await _carrier(conn, held, caller)
        ids = await did_trade.reserve(conn, caller.account_id, body.numbers, carrier, now)
        request = {"numbers": [[number, ids[number]] for number in body.numbers]}
        asked = await _write(conn, held, caller, Kind.PURCHASE, carrier, request)
        for number in body.numbers:
            await audit.record(conn, caller.account_id, caller.actor, "did.purchase", number, now)
    operation = await operating.outcome(held, asked)
    return await _show_purchase(held, operation) if operation.is_over else operating.accepted(operation)


@router.delete("/{number}", response_model=ReleasedOut, responses=_PENDING)
async def release(number: str, caller: Writer, held: Held) -> Response:
    """Gives a bought number back to its carrier, or forgets one that was registered by hand. It is not used again."""
    runtime = held.runtime
    now = runtime.clock.now()
    async with runtime.db.begin() as conn:
        did = await _lock(conn, caller, number)
        if did.carrier:
            asked = await _begin_release(conn, held, caller, did)
        else:
            asked = None
            await did_trade.released(conn, did.id, now, caller.actor)
        await audit.record(conn, caller.account_id, caller.actor, "did.release", number, now)
    if asked is None:
        return reply({"number": number, "state": "released"})
    operation = await operating.outcome(held, asked, is_hinted=False)
    return reply(operation.result) if operation.is_over and operation.result else operating.accepted(operation)


@router.get("/{number}/health", response_model=DidHealthOut)
async def health(number: str, caller: Reader, held: Held) -> Response:
    """The score, its factors, and what follows: the number's state, its caps and what of them is used."""
    runtime = held.runtime
    now = runtime.clock.now()
    async with runtime.reader.connect() as conn:
        did = _owned(await pool_store.find(conn, caller.account_id, number))
        record = await health_store.get(conn, caller.account_id, did.id)
        usage = await caps_store.read(conn, did.id)
    assert record is not None  # every number has one, if an empty one
    return reply(_show_health(did, record, usage, now, runtime.settings.did_policy))


async def _ask(held: Deps, caller: Caller, request: Mapping[str, object]) -> Operation:
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        carrier = await _carrier(conn, held, caller)
        return await _write(conn, held, caller, Kind.SEARCH, carrier, request)


async def _write(
    conn: AsyncConnection,
    held: Deps,
    caller: Caller,
    kind: Kind,
    carrier: str,
    request: Mapping[str, object],
    delay_s: float = 0.0,
) -> Operation:
    now = held.runtime.clock.now()
    asked = await operations.ask(
        conn, caller.account_id, kind, carrier, request, now, actor=caller.actor, delay_s=delay_s
    )
    assert asked is not None  # it bears no name that another could have
    return asked


async def _carrier(conn: AsyncConnection, held: Deps, caller: Caller) -> str:
    """The carrier of this key's calls. Raises InvalidInput when there is none, or when it sells no numbers."""
    account = await accounts.get(conn, caller.account_id)
    name = carrier_for(caller, account.settings if account else {}, held.runtime.settings.test_carrier)
    if not held.runtime.carrier(name).caps.sells_numbers:
        raise InvalidInput(
            f"{name} sells no numbers through its API: buy them there, and register them with POST /dids"
        )
    return name


async def _lock(conn: AsyncConnection, caller: Caller, number: str) -> Numbered:
    found = _owned(await pool_store.find(conn, caller.account_id, number))
    return _owned(await pool_store.lock(conn, found.id))


def _owned(did: Numbered | None) -> Numbered:
    if did is None or did.standing.state is DidState.RELEASED:
        raise NotFound("there is no such number in your account")
    return did


async def _begin_release(conn: AsyncConnection, held: Deps, caller: Caller, did: Numbered) -> Operation:
    """Takes the number out of use, and asks for it to be given back once no ticket of it can be open any more."""
    runtime = held.runtime
    if did.standing.reason == did_trade.PURCHASING and await operations.is_buying(conn, caller.account_id):
        raise Conflict(f"{did.number} is being bought; release it when that is over")
    if (pending := await operations.pending_release(conn, caller.account_id, did.id)) is not None:
        return pending
    way = did_pool.simple(did.standing, Cause.RELEASING)
    if way is not None:
        await pool_store.move(conn, did, way, runtime.clock.now(), actor=caller.actor)
    request = {"number": did.number, "did_id": did.id}
    delay_s = runtime.settings.ticket_s + TICKET_GRACE_S
    return await _write(conn, held, caller, Kind.RELEASE, did.carrier, request, delay_s)


async def _show_purchase(held: Deps, operation: Operation) -> Response:
    """201 with what was bought and what was not. Raises Conflict when nothing was."""
    outcome = operating.purchase_result(operation)
    refused = {each["number"]: each["reason"] for each in outcome["failed"]}
    if not outcome["purchased"]:
        raise Conflict("the carrier sold none of these numbers", dict(refused))
    async with held.runtime.reader.connect() as conn:
        found = [await dids.find(conn, operation.account_id, number) for number in outcome["purchased"]]
    return reply({"purchased": [show(did) for did in found if did is not None], "failed": outcome["failed"]}, 201)


def _show_health(did: Numbered, record: Record, usage: Usage, now: datetime, setting: str) -> dict[str, object]:
    standing, found = did.standing, record.health()
    warming_since = standing.warming_since
    age_days = (now - warming_since).total_seconds() / _DAY_S if warming_since else 0.0
    band = did_health.band(record.score)
    limits = caps(did.policy(setting), standing.state, age_days, band is did_health.Band.REDUCED)
    texts, now_s = record.sent_texts(), now.timestamp()
    return {
        "number": did.number,
        "state": standing.state,
        "reason": standing.reason,
        "until": moment(standing.until),
        "score": record.score,
        "band": band,
        "factors": found.factors,
        "calls": found.calls,
        "smsScore": record.sms_score,
        "texts": {
            "sent": texts.sent,
            "delivered": texts.delivered,
            "filtered": texts.filtered,
            "optedOut": texts.opted_out,
            "unknown": texts.unknown,
        },
        "caps": {"perHour": limits.per_hour, "perDay": limits.per_day, "gapS": limits.gap_s},
        "used": {
            "hour": did_caps.used(usage.hour, did_caps.HOUR_S, now_s),
            "day": did_caps.used(usage.day, did_caps.DAY_S, now_s),
        },
        "flags": standing.flags,
    }


def _check_search(area_code: str, quantity: int, contains: str) -> None:
    faults: dict[str, object] = {}
    if area_code and area_code not in area_codes():
        faults["areaCode"] = f"'{area_code[:20]}' is not an area code in service; give three digits such as 949"
    if not 1 <= quantity <= MOST_OFFERS:
        faults["quantity"] = f"{quantity} is out of range; give 1 to {MOST_OFFERS}"
    if contains and not (contains.isascii() and contains.isdigit() and len(contains) <= 10):
        faults["contains"] = f"'{contains[:20]}' is not up to ten digits, such as 555"
    if faults:
        raise InvalidInput("; ".join(f"{name}: {fault}" for name, fault in faults.items()), faults)


def _check_numbers(numbers: Sequence[str]) -> None:
    faults: dict[str, object] = {}
    for index, number in enumerate(numbers):
        if not is_e164(number):
            faults[f"numbers[{index}]"] = f"'{number[:40]}' is not an E.164 number such as +14155550123"
        elif number in numbers[:index]:
            faults[f"numbers[{index}]"] = f"{number} is given twice"
    if faults:
        raise InvalidInput("; ".join(f"{name}: {fault}" for name, fault in faults.items()), faults)
