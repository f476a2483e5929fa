"""Every error leaves as `{"error": {"code", "message", "fields"}}`, whoever raised it; never with a stack."""

from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from engine.errors import CarillonError, InvalidInput, RateLimited, Unavailable

log = structlog.get_logger(__name__)

REFUSALS = (CarillonError, RequestValidationError)

_NO_CONNECTION = "e3q8"  # SQLAlchemy's code of an OperationalError
_RETRY_AFTER_S = 1  # an embedded PostgreSQL restarts in about that time
_BY_STATUS = {404: ("not_found", "there is nothing at this path; see /docs"), 405: ("method_not_allowed", "")}


def install(app: FastAPI) -> None:
    """Makes `answer` the handler of the errors that it knows."""
    for kind in (*REFUSALS, HTTPException, DBAPIError, PoolTimeoutError):
        app.exception_handler(kind)(_handle)


async def _handle(_request: Request, error: Exception) -> Response:
    return answer(error)


def answer(error: Exception) -> Response:
    """The answer to any error. Raises one that it does not know: it ends in `context.RequestContext` as a 500."""
    match error:
        case CarillonError() | RequestValidationError():
            return refuse(error)
        case HTTPException():
            code, message = _BY_STATUS.get(error.status_code, ("error", ""))
            return render(error.status_code, code, message or str(error.detail), headers=error.headers)
        case PoolTimeoutError():
            return _away(error)
        case DBAPIError() if error.connection_invalidated or error.code == _NO_CONNECTION:
            return _away(error)  # a statement that the database refuses is our bug
    raise error


def problem(error: CarillonError) -> Response:
    """The answer to one error."""
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s + 0.5)))
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    elif error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return render(error.status, error.code, error.message, error.fields, headers)


def render(
    status: int,
    code: str,
    message: str,
    fields: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = orjson.dumps({"error": {"code": code, "message": message, "fields": dict(fields or {})}}, default=str)
    return Response(body, status, headers, "application/json")


def refuse(error: CarillonError | RequestValidationError) -> Response:
    """The answer to one of `REFUSALS`."""
    if isinstance(error, RequestValidationError):
        return problem(_invalid(error))
    if error.status >= 500:
        log.error("request.failed", code=error.code, message=error.message)
    return problem(error)


def _invalid(error: RequestValidationError) -> InvalidInput:
    fields: dict[str, object] = {}
    for fault in error.errors():
        fields.setdefault(_path(fault["loc"]), _words(fault))
    path, message = next(iter(fields.items()))
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return InvalidInput(f"invalid request: {path}: {message}{more}", fields)


def _away(error: Exception) -> Response:
    log.warning("database.unavailable", error=str(error.__cause__ or error)[:300])
    return problem(Unavailable("the database is not reachable; try again in a moment"))


def _path(location: tuple[int | str, ...]) -> str:
    """`("body", "phones", 3)` → `phones[3]`."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or str(location[0])


def _words(fault: Mapping[str, Any]) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "unknown field; see /docs for those that exist"
        case "missing":
            return "is required"
        case _:
            return str(fault["msg"]).removeprefix("Value error, ")
