"""What every event looks like, for people and for tools. Public, as the OpenAPI document is."""

from functools import cache
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Request, Response

from api_min.deps import Held
from engine.rules import event_documents

router = APIRouter(prefix="/events", tags=["events"])


@router.get("/catalog")
async def read_catalog() -> Response:
    """Every event: its channel, its names in each dialect, its payload's schema and an example."""
    return _answer(_catalog())


@router.get("/asyncapi.json")
async def read_asyncapi(request: Request, held: Held) -> Response:
    """The event streams as an AsyncAPI 3 document."""
    return _answer(_asyncapi(request.app.version, held.runtime.settings.public_url))


@cache
def _catalog() -> bytes:
    return orjson.dumps(event_documents.catalog())


@cache
def _asyncapi(version: str, public_url: str) -> bytes:
    url = urlsplit(public_url)
    return orjson.dumps(event_documents.asyncapi(version, url.netloc, is_secure=url.scheme == "https"))


def _answer(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"Access-Control-Allow-Origin": "*"})
