"""What people begin themselves: texts and calls to our numbers, made by `POST /control/inbound`, and their media files.

The text is reported to the URL that the control call names, signed and retried as every callback. A caller hears what
the answer says (document shape), or rings until the patience is over.
"""

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.carriers.network import behaviour
from engine.carriers.network.config import Account, Config
from engine.carriers.network.journal import Journal
from engine.carriers.network.line import Incoming, Line, Play, Report, Say, Verb, Wire
from engine.carriers.port import Channel, Media

log = structlog.get_logger(__name__)

_MOST_FILES = 200  # the oldest are forgotten, as a carrier deletes media
_CHARACTERS_PER_S = 15.0  # of speech
_PLAYBACK_S = 8.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MediaIn(_Strict):
    """A file by its URL, or with its bytes in base64: then the network serves it."""

    content_type: str
    url: str = ""
    data: str = ""


class InboundIn(_Strict):
    """The body of `POST /control/inbound`."""

    url: str  # of the engine's callbacks
    from_: Annotated[str, Field(alias="from")]
    to: str
    channel: Channel = Channel.SMS
    shape: Literal["command", "document"] = "command"
    text: str = ""
    media: tuple[MediaIn, ...] = ()
    account: str = "sim"
    id: str = ""  # of the message or call; one of its own when empty


@dataclass(slots=True, eq=False, kw_only=True)
class IncomingCall(Line):
    """A person calls. `answered_at` stays empty when nobody takes the call."""

    patience_s: float  # real
    answered_at: float | None = None
    has_ended: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class Inbound:
    """Every text and call that came in, and the files of the texts."""

    def __init__(self, config: Config, journal: Journal, tell: Callable[[Line, Report], None]) -> None:
        self._config, self._journal, self._tell = config, journal, tell
        self._files: dict[str, tuple[str, bytes]] = {}
        self._calls: list[IncomingCall] = []

    def text(self, wire: Wire, account: Account, order: Incoming) -> None:
        self._log(wire, account, order)
        self._report(Line(wire, account, order.ref, order), "received")

    def call(self, wire: Wire, account: Account, order: Incoming) -> None:
        low, high = self._config.latency.ring_s
        unit = behaviour.draws(self._config.seed, "patience", order.ref)[0]
        call = IncomingCall(
            wire, account, order.ref, order, patience_s=(low + (high - low) * unit) / self._config.speed
        )
        self._calls.append(call)
        self._log(wire, account, order)
        self._report(call, "started")
        self._after(call, call.patience_s, self._end, "originator_cancel")

    def obey(self, call: IncomingCall, report: Report, body: bytes) -> None:
        """The answer to `started` is what the caller hears; without one it goes on ringing."""
        if report.kind != "started" or call.has_ended or call.answered_at is not None:
            return
        try:
            verbs = call.wire.instructions(body)
        except ValueError as error:
            log.warning("document.refused", ref=call.order.ref, error=str(error))
            return
        if not verbs:
            return
        names = [type(verb).__name__ for verb in verbs]
        self._journal.write("document", ref=call.order.ref, carrier_id=call.id, event=report.kind, verbs=names)
        _stop(call)
        call.answered_at = time.time()
        self._report(call, "answered")
        self._after(call, sum(map(_length_s, verbs)) / self._config.speed, self._end, "normal_clearing")

    def keep(self, content_type: str, data: bytes) -> str:
        """Serves a file from now on; returns its name."""
        name = secrets.token_hex(16)
        self._files[name] = (content_type, data)
        while len(self._files) > _MOST_FILES:
            del self._files[next(iter(self._files))]
        return name

    def file(self, name: str) -> tuple[str, bytes] | None:
        return self._files.get(name)

    def log_end(self) -> int:
        return self._journal.end()

    def close(self) -> None:
        for call in self._calls:
            _stop(call)

    def _end(self, call: IncomingCall, cause: str) -> None:
        call.has_ended = True
        talked_s = 0.0 if call.answered_at is None else time.time() - call.answered_at
        self._report(call, "ended", cause, round(talked_s * self._config.speed))
        self._calls.remove(call)

    def _after(self, call: IncomingCall, delay_s: float, act: Callable[[IncomingCall, str], None], cause: str) -> None:
        call.timers.append(asyncio.get_running_loop().call_later(delay_s, act, call, cause))

    def _report(self, line: Line, kind: str, detail: str = "", duration_s: int = 0) -> None:
        report = Report(kind, len(line.reports) + 1, time.time(), detail, duration_s)
        line.reports.append(report)
        self._tell(line, report)

    def _log(self, wire: Wire, account: Account, order: Incoming) -> None:
        self._journal.write(
            "inbound",
            shape=wire.name,
            channel=order.channel,
            account=account.id,
            carrier_id=order.ref,
            to=order.to,
            **{"from": order.from_},
            text=order.text,
            media=[each.url for each in order.media],
        )


class InboundControl:
    """`POST /control/inbound` and the files under `/media`."""

    def __init__(self, inbound: Inbound, config: Config, wires: Mapping[str, Wire]) -> None:
        self._inbound, self._config, self._wires = inbound, config, wires

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/control/inbound", self.receive), web.get("/media/{name}", self.media)]

    async def receive(self, request: web.Request) -> web.Response:
        """Answers `{"id", "next"}` once it is on its way; that it arrived is in the log from offset `next` on."""
        try:
            asked = InboundIn.model_validate_json(await request.read())
            media = tuple(self._media(each, str(request.url.origin())) for each in asked.media)
        except (ValidationError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        account = next((each for each in self._config.accounts if each.id == asked.account), None)
        if account is None:
            raise web.HTTPBadRequest(text=f"there is no account {asked.account}")
        prefix = "CA" if asked.channel is Channel.VOICE else "SM"
        name = asked.id or prefix + secrets.token_hex(16)
        order = Incoming(asked.channel, name, asked.to, asked.from_, asked.url, asked.text, media=media)
        since = self._inbound.log_end()
        begin = self._inbound.call if asked.channel is Channel.VOICE else self._inbound.text
        begin(self._wires[asked.shape], account, order)
        return web.json_response({"id": name, "next": since})

    async def media(self, request: web.Request) -> web.Response:
        found = self._inbound.file(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found[1], headers={"Content-Type": found[0]})

    def _media(self, asked: MediaIn, origin: str) -> Media:
        if asked.url:
            return Media(asked.url, asked.content_type)
        name = self._inbound.keep(asked.content_type, base64.b64decode(asked.data, validate=True))
        return Media(f"{origin}/media/{name}", asked.content_type)


def _stop(call: IncomingCall) -> None:
    for timer in call.timers:
        timer.cancel()
    call.timers.clear()


def _length_s(verb: Verb) -> float:
    if isinstance(verb, Say):
        return len(verb.text) / _CHARACTERS_PER_S
    return _PLAYBACK_S if isinstance(verb, Play) else 0.0
