"""Operations: what a worker does at a carrier for a request that could not wait for it."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min import operating
from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.did_schemas import OperationOut
from api_min.replies import parse_id, reply
from api_min.routing import ApiRoute
from engine.errors import NotFound
from engine.store import operations

router = APIRouter(prefix="/operations", tags=["operations"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]


@router.get("/{operation_id}", response_model=OperationOut)
async def get_operation(operation_id: str, caller: Reader, held: Held) -> Response:
    """How it stands: `pending`, `done` with its result, or `failed` with the carrier's reason. Kept for a week."""
    number = parse_id("op", operation_id, "operation")
    async with held.runtime.reader.connect() as conn:
        operation = await operations.find(conn, caller.account_id, number)
    if operation is None:
        raise NotFound("there is no such operation")
    return reply(operating.show(operation))
