"""What the routes need, built once by the process that serves them."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Annotated

from aiohttp import ClientSession
from fastapi import Depends, Request

from api_min.auth import KeyRing
from api_min.inbox import Inbox
from api_min.places import Places
from engine.carriers.port import Command
from engine.feed.hub import Hub
from engine.runtime import Runtime

# Each reads all of a campaign's people, and then takes a processor for some seconds.
MOST_FORECASTS = 2

# (ref, keys of the callback's own reports, ids of the unsettled ones) → what to answer a document carrier
Settle = Callable[[str, Collection[str], Collection[int]], Awaitable[Command | None]]


@dataclass(frozen=True, slots=True)
class Deps:
    runtime: Runtime
    keys: KeyRing
    inbox: Inbox
    document_inbox: Inbox  # hints nobody: its reports are settled before they are answered
    settle: Settle
    hub: Hub
    egress: ClientSession  # guarded: for addresses that clients named
    imports: Places = field(default_factory=Places)
    forecasts: Places = field(default_factory=lambda: Places(MOST_FORECASTS, 1))


async def deps(request: Request) -> Deps:
    """The Deps of the application that serves this request."""
    held: Deps = request.app.state.deps
    return held


Held = Annotated[Deps, Depends(deps)]
