"""One question to the API, as any client would ask it: for commands that only show an answer."""

import asyncio
from typing import Annotated, Any

import aiohttp
import typer

from engine.errors import CarillonError, InvalidInput, Unavailable

TIMEOUT_S = 120

Url = Annotated[str, typer.Option(envvar="CARILLON_URL", help="Base URL of the API.")]
Key = Annotated[str, typer.Option(envvar="CARILLON_KEY", help="An API key; better in the environment.")]
DEFAULT_URL = "http://127.0.0.1:8000"


def ask(url: str, key: str, path: str) -> dict[str, Any]:
    """The answer to `GET path`. Raises CarillonError with the API's own words, Unavailable when it cannot be reached,
    InvalidInput without a key."""
    if not key:
        raise InvalidInput("no API key: set CARILLON_KEY")
    return asyncio.run(_get(url.rstrip("/") + path, key))


async def _get(target: str, key: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, connect=10)) as session,
            session.get(target, headers=headers) as response,
        ):
            body: dict[str, Any] = await response.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{target} did not answer: {error or type(error).__name__}") from error
    if response.status != 200:
        raise CarillonError(body.get("error", {}).get("message", f"HTTP {response.status}"))
    return body
