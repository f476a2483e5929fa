"""Users: people whose numbers a key of theirs hears of."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min import owners
from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.ownership_schemas import UserIn, UserOut, UsersOut
from api_min.replies import Page, moment, parse_id, reply
from api_min.routing import ApiRoute
from engine import ids
from engine.store import audit, users
from engine.store.users import User

router = APIRouter(prefix="/users", tags=["ownership"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]
Writer = Annotated[Caller, needs("*")]


@router.post("", status_code=201, response_model=UserOut)
async def add_user(body: UserIn, caller: Writer, held: Held) -> Response:
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        team_id = await owners.team(conn, caller.account_id, body.team_id)
        user = await users.add(conn, caller.account_id, body.name, team_id)
        shown = _show(user)
        now, detail = runtime.clock.now(), {"teamId": shown["teamId"]}
        await audit.record(conn, caller.account_id, caller.actor, "user.create", str(shown["id"]), now, detail)
    return reply(shown, 201)


@router.get("", response_model=UsersOut)
async def list_users(caller: Reader, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """Oldest first; in pages with `limit` or `cursor`."""
    page = Page("user", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await users.list_users(conn, caller.account_id, page.fetch, page.after)
    return page.reply("users", rows, [_show(row) for row in rows])


@router.delete("/{user_id}", status_code=204, response_class=Response)
async def delete_user(user_id: str, caller: Writer, held: Held) -> Response:
    """409 while they have lines or working keys."""
    runtime = held.runtime
    number = parse_id("user", user_id, "user")
    async with runtime.db.begin() as conn:
        await users.remove(conn, caller.account_id, number)
        await audit.record(conn, caller.account_id, caller.actor, "user.delete", user_id, runtime.clock.now())
    return Response(status_code=204)


def _show(user: User) -> dict[str, object]:
    return {
        "id": ids.encode("user", user.id),
        "name": user.name,
        "teamId": owners.show("team", user.team_id),
        "createdAt": moment(user.created_at),
    }
