"""Teams: whose members' and whose own numbers a team's key hears of."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.ownership_schemas import TeamIn, TeamOut, TeamsOut
from api_min.replies import Page, moment, parse_id, reply
from api_min.routing import ApiRoute
from engine import ids
from engine.store import audit, teams
from engine.store.teams import Team

router = APIRouter(prefix="/teams", tags=["ownership"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]
Writer = Annotated[Caller, needs("*")]


@router.post("", status_code=201, response_model=TeamOut)
async def add_team(body: TeamIn, caller: Writer, held: Held) -> Response:
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        team = await teams.add(conn, caller.account_id, body.name)
        shown = _show(team)
        now = runtime.clock.now()
        await audit.record(conn, caller.account_id, caller.actor, "team.create", str(shown["id"]), now)
    return reply(shown, 201)


@router.get("", response_model=TeamsOut)
async def list_teams(caller: Reader, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """Oldest first; in pages with `limit` or `cursor`."""
    page = Page("team", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await teams.list_teams(conn, caller.account_id, page.fetch, page.after)
    return page.reply("teams", rows, [_show(row) for row in rows])


@router.delete("/{team_id}", status_code=204, response_class=Response)
async def delete_team(team_id: str, caller: Writer, held: Held) -> Response:
    """409 while it has users, lines or working keys."""
    runtime = held.runtime
    number = parse_id("team", team_id, "team")
    async with runtime.db.begin() as conn:
        await teams.remove(conn, caller.account_id, number)
        await audit.record(conn, caller.account_id, caller.actor, "team.delete", team_id, runtime.clock.now())
    return Response(status_code=204)


def _show(team: Team) -> dict[str, object]:
    return {"id": ids.encode("team", team.id), "name": team.name, "createdAt": moment(team.created_at)}
