"""The private control API: read the log and the counts, change the faults, forget everything."""

from collections.abc import Sequence

import orjson
from aiohttp import web

from engine.carriers.network.config import Faults
from engine.carriers.network.exchange import Exchange
from engine.carriers.network.numbers import Inventory


class Control:
    def __init__(self, exchange: Exchange, inventory: Inventory) -> None:
        self._exchange, self._inventory = exchange, inventory

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/control/log", self.log),
            web.get("/control/stats", self.stats),
            web.post("/control/faults", self.faults),
            web.post("/control/labels", self.labels),
            web.post("/control/reset", self.reset),
        ]

    async def log(self, request: web.Request) -> web.Response:
        """`?since=<byte offset>` → `{"lines": [...], "next": <byte offset>}`."""
        try:
            since = int(request.query.get("since", "0"))
        except ValueError as error:
            raise web.HTTPBadRequest(text="since is a byte offset") from error
        lines, next_offset = self._exchange.journal.read(since)
        return _reply({"lines": lines, "next": next_offset})

    async def stats(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        open_callbacks = self._exchange.callbacks.open_count
        return _reply({"counts": dict(self._exchange.counts), "open_callbacks": open_callbacks})

    async def faults(self, request: web.Request) -> web.Response:
        """Sets the faults named in the body; the others keep their rates. Answers all of them."""
        try:
            changes = orjson.loads(await request.read())
            faults = Faults.model_validate({**self._exchange.faults.model_dump(), **changes})
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self._exchange.set_faults(faults)
        return _reply(faults.model_dump())

    async def labels(self, request: web.Request) -> web.Response:
        """`{"+1…": "words"}` labels a number at every engine, null takes its label off. Answers all labels."""
        try:
            changes = dict(orjson.loads(await request.read()))
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        for number, words in changes.items():
            if words is None:
                self._inventory.labels.pop(number, None)
            else:
                self._inventory.labels[number] = str(words)
        return _reply(self._inventory.labels)

    async def reset(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        self._exchange.reset()
        return _reply({"reset": True})


def _reply(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
