"""API keys: made, listed and revoked by a key that may do everything."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from api_min import owners
from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.replies import moment, parse_id, reply
from api_min.routing import ApiRoute
from api_min.schemas import KeyIn, KeysOut, NewKeyOut
from engine import ids
from engine.store import audit, keys
from engine.store.keys import Key

router = APIRouter(prefix="/keys", tags=["keys"], route_class=ApiRoute)

Owner = Annotated[Caller, needs("*")]


@router.post("", status_code=201, response_model=NewKeyOut)
async def create_key(request: Request, body: KeyIn, caller: Owner, held: Held) -> Response:
    """The new key is of the caller's kind, live or test, and is shown in this answer only.

    With an `Idempotency-Key` the answer is replayed without the key: it is nowhere kept.
    """
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        user_id, team_id = await owners.one_of(conn, caller.account_id, body.user_id, body.team_id)
        key, secret = await keys.create_key(
            conn,
            caller.account_id,
            body.name,
            body.scopes,
            runtime.settings.key_rate_limit if body.rate_limit is None else body.rate_limit,
            body.expires_in_days,
            caller.is_live,
            user_id=user_id,
            team_id=team_id,
        )
        detail = {"prefix": key.prefix, "scopes": key.scopes, **_show_owner(key)}
        now = runtime.clock.now()
        await audit.record(conn, caller.account_id, caller.actor, "key.create", key.actor, now, detail)
    request.state.kept_body = reply(_show(key)).body
    return reply(_show(key) | {"key": secret}, 201)


@router.get("", response_model=KeysOut)
async def list_keys(caller: Owner, held: Held) -> Response:
    """Every key of the account, the revoked ones too."""
    async with held.runtime.reader.connect() as conn:
        rows = await keys.list_keys(conn, caller.account_id)
    return reply({"keys": [_show(row) | _show_life(row) for row in rows]})


@router.delete("/{key_id}", status_code=204, response_class=Response)
async def revoke_key(key_id: str, caller: Owner, held: Held) -> Response:
    """Stops working everywhere within a second."""
    runtime = held.runtime
    number = parse_id("key", key_id, "key")
    async with runtime.db.begin() as conn:
        await keys.revoke(conn, caller.account_id, number, caller.actor, runtime.clock.now())
    held.keys.forget(number)
    return Response(status_code=204)


def _show(key: Key) -> dict[str, object]:
    return {
        "id": ids.encode("key", key.id),
        "prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "rateLimit": key.rate_limit,
        "expiresAt": moment(key.expires_at),
        **_show_owner(key),
    }


def _show_owner(key: Key) -> dict[str, object]:
    return {"userId": owners.show("user", key.user_id), "teamId": owners.show("team", key.team_id)}


def _show_life(key: Key) -> dict[str, object]:
    return {"createdAt": moment(key.created_at), "revokedAt": moment(key.revoked_at)}
