"""Operations as requests see them: asked for, waited for, and answered by their URL when they take longer."""

from collections.abc import Mapping
from typing import TypedDict

import structlog
from fastapi import Response
from redis.exceptions import RedisError

from api_min.deps import Deps
from api_min.replies import moment, reply
from engine.errors import CarillonError, Unavailable
from engine.jobs import Actor, Queue, enqueue
from engine.rules.operation import Kind
from engine.store import operations
from engine.store.operations import Operation

log = structlog.get_logger(__name__)

_PATH = "/api/operations"


class CarrierRefused(CarillonError):
    """The carrier will not do what was asked of it."""

    code, status = "carrier_refused", 409


async def hint(held: Deps, operation_id: int) -> None:
    """Tells the workers of a committed operation. Lost, it costs the coordinator's next look (P8)."""
    try:
        await enqueue(held.runtime.queue, Queue.SETTLE, Actor.RUN_OPERATION, [[operation_id]])
    except (RedisError, OSError) as error:
        log.warning("operation.hint_lost", error=str(error))


async def outcome(held: Deps, operation: Operation, *, is_hinted: bool = True) -> Operation:
    """The operation when it is over, or as it is after the time that a request waits.

    Raises Unavailable or CarrierRefused when it has failed.
    """
    if is_hinted:
        await hint(held, operation.id)
    runtime = held.runtime
    found = await operations.wait(runtime.reader, operation.account_id, operation.id, runtime.settings.operation_wait_s)
    operation = found or operation
    if operation.status == "failed":
        raise refusal(operation)
    return operation


def refusal(operation: Operation) -> CarillonError:
    error = operation.error or {}
    message = str(error.get("message") or "the carrier refused it")
    fields = {"operation": operation.public_id, "code": error.get("code", "")}
    if error.get("code") == "no_answer":
        return Unavailable(f"the carrier does not answer: {message}", fields)
    return CarrierRefused(f"the carrier refused: {message}", fields)


def accepted(operation: Operation) -> Response:
    """202, and where to ask for it."""
    response = reply({**show(operation), "url": f"{_PATH}/{operation.public_id}"}, 202)
    response.headers["Location"] = f"{_PATH}/{operation.public_id}"
    return response


class Purchased(TypedDict):
    purchased: list[str]
    failed: list[dict[str, str]]


def purchase_result(operation: Operation) -> Purchased:
    """What a purchase has achieved so far; the row holds each number's fault, empty for one that was bought."""
    outcome = dict(operation.result or {})
    failed = [{"number": number, "reason": fault} for number, fault in outcome.items() if fault]
    return {"purchased": [number for number, fault in outcome.items() if not fault], "failed": failed}


def _result(operation: Operation) -> Mapping[str, object] | None:
    return purchase_result(operation) if operation.kind is Kind.PURCHASE else operation.result


def show(operation: Operation) -> dict[str, object]:
    return {
        "id": operation.public_id,
        "kind": operation.kind,
        "status": operation.status,
        "result": _result(operation) if operation.status == "done" else None,
        "error": operation.error,
        "createdAt": moment(operation.created_at),
        "finishedAt": moment(operation.finished_at),
    }
