"""Usage by meter. Any key of the account may read it: it tells what was used, not by whom nor with whom."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.replies import reply
from api_min.routing import ApiRoute
from api_min.sms_schemas import UsageOut
from engine.errors import InvalidInput
from engine.rules.usage import day_of
from engine.store import usage

router = APIRouter(prefix="/billing", tags=["billing"], route_class=ApiRoute)

Anyone = Annotated[Caller, needs()]

MOST_DAYS = 366


@router.get("/usage", response_model=UsageOut)
async def get_usage(
    caller: Anyone,
    held: Held,
    from_: Annotated[str | None, Query(alias="from", description="first day; default: of the month of to")] = None,
    to: Annotated[str | None, Query(description="last day, included; default: today")] = None,
) -> Response:
    """Exact totals of the days `from` … `to` (UTC), recomputable from what was sent and received."""
    runtime = held.runtime
    now = runtime.clock.now()
    today = day_of(now)
    last = today if to is None else _day("to", to)
    first = last.replace(day=1) if from_ is None else _day("from", from_)
    if not 0 <= (last - first).days < MOST_DAYS:
        fault = f"must be a day before or at to, at most {MOST_DAYS} days back"
        raise InvalidInput(f"from: {fault}", {"from": fault})
    async with runtime.reader.connect() as conn:
        totals = await usage.totals(conn, caller.account_id, first, last, now)
    meters = [{"meter": each.meter, "displayName": each.name, "total": each.total} for each in totals]
    return reply({"usage": meters, "from": first.isoformat(), "to": last.isoformat()})


def _day(name: str, text: str) -> date:
    """The day of a date or of a timestamp. Raises InvalidInput."""
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        day = date.max
    if day.year == date.max.year:  # it has a day that none follows
        fault = f"'{text[:40]}' is not a day such as 2026-03-01"
        raise InvalidInput(f"{name}: {fault}", {name: fault})
    return day
