"""Lines: what numbers belong to, and whose they are thereby."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min import owners
from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.ownership_schemas import LineIn, LineOut, LinesOut
from api_min.replies import Page, moment, parse_id, reply
from api_min.routing import ApiRoute
from engine import ids
from engine.store import audit, lines
from engine.store.lines import Line

router = APIRouter(prefix="/lines", tags=["ownership"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]
Writer = Annotated[Caller, needs("*")]


@router.post("", status_code=201, response_model=LineOut)
async def add_line(body: LineIn, caller: Writer, held: Held) -> Response:
    """Of a user, of a team, or of the whole account."""
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        user_id, team_id = await owners.one_of(conn, caller.account_id, body.user_id, body.team_id)
        line = await lines.add(conn, caller.account_id, body.name, user_id, team_id)
        shown = _show(line)
        now, detail = runtime.clock.now(), {"userId": shown["userId"], "teamId": shown["teamId"]}
        await audit.record(conn, caller.account_id, caller.actor, "line.create", str(shown["id"]), now, detail)
    return reply(shown, 201)


@router.get("", response_model=LinesOut)
async def list_lines(caller: Reader, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """Oldest first; in pages with `limit` or `cursor`."""
    page = Page("line", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await lines.list_lines(conn, caller.account_id, page.fetch, page.after)
    return page.reply("lines", rows, [_show(row) for row in rows])


@router.delete("/{line_id}", status_code=204, response_class=Response)
async def delete_line(line_id: str, caller: Writer, held: Held) -> Response:
    """409 while numbers belong to it: move them with `PATCH /api/dids/{number}` first."""
    runtime = held.runtime
    number = parse_id("line", line_id, "line")
    async with runtime.db.begin() as conn:
        await lines.remove(conn, caller.account_id, number)
        await audit.record(conn, caller.account_id, caller.actor, "line.delete", line_id, runtime.clock.now())
    return Response(status_code=204)


def _show(line: Line) -> dict[str, object]:
    return {
        "id": ids.encode("line", line.id),
        "name": line.name,
        "userId": owners.show("user", line.user_id),
        "teamId": owners.show("team", line.team_id),
        "createdAt": moment(line.created_at),
    }
