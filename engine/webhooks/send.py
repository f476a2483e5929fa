"""One request to one endpoint, and what came of it in words that its owner can use."""

import asyncio
import re
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp

from engine import egress
from engine.clock import real_now
from engine.egress import Refused
from engine.errors import InvalidInput
from engine.rules.webhook import Answer
from engine.runtime import Runtime
from engine.store.webhooks import Webhook
from engine.webhooks import message

_READ_BYTES = 16_384  # of an answer: enough that a usual one is read whole and its connection used again
_SHOWN_CHARS = 200
_UNSHOWN = re.compile(r"[\x00-\x20\x7f]+")


def open_session(runtime: Runtime) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """For a Deliverer, or for single requests."""
    settings = runtime.settings
    return egress.guarded_session(
        allow_private=settings.webhook_allow_private,
        timeout_s=settings.webhook_timeout_s,
        connections=settings.webhook_connections,
    )


class Sender:
    """Sends to any endpoint over one guarded session."""

    def __init__(self, session: aiohttp.ClientSession, *, allow_private: bool, timeout_s: float) -> None:
        self._session = session
        self._allow_private = allow_private
        self._timeout_s = timeout_s

    async def send(self, webhook: Webhook, seq: int, line: str) -> Answer:
        """Never raises for what an endpoint, its name or its network can do wrong."""
        now = real_now()
        body = message.render(webhook.account_id, seq, line)
        headers = message.headers(message.event_id(webhook.account_id, seq), webhook.secrets_at(now), now, body)
        try:
            egress.check_url(webhook.url, allow_private=self._allow_private)  # the rules may be stricter than they were
            try:
                return await self._post(webhook.url, headers, body, now)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # Most likely an idle connection that the other side closed just now. At least once, so once more.
                return await self._post(webhook.url, headers, body, now)
        except InvalidInput as error:
            return Answer(0, error.message)
        except Refused as refused:
            return Answer(0, refused.reason)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, self._words(error))

    async def _post(self, url: str, headers: dict[str, str], body: bytes, now: datetime) -> Answer:
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            text = ""
            with suppress(aiohttp.ClientPayloadError, OSError):  # the status has come, and says it all
                text = _shown(await egress.read_at_most(response, _READ_BYTES))
            if 200 <= response.status < 300:
                return Answer(response.status)
            if 300 <= response.status < 400:
                return Answer(response.status, f"HTTP {response.status}: redirects are not followed")
            error = f"HTTP {response.status}" + (f": {text}" if text else "")
            return Answer(response.status, error, _retry_after_s(response.headers.get("Retry-After", ""), now))

    def _words(self, error: Exception) -> str:
        match error:
            case asyncio.TimeoutError():
                return f"no answer within {self._timeout_s:g} s"
            case aiohttp.ClientConnectorDNSError():
                return "the host name cannot be resolved"
            case aiohttp.ClientConnectorCertificateError():
                return f"its certificate is not valid: {error.certificate_error}"[:_SHOWN_CHARS]
            case aiohttp.ClientSSLError():
                return "the TLS handshake failed"
            case aiohttp.ClientConnectorError():
                return f"cannot connect: {error.os_error.strerror or 'refused'}"[:_SHOWN_CHARS]
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
                return "the connection was closed before an answer came"
            case _:
                return f"no valid HTTP answer ({type(error).__name__})"


def _shown(body: bytes) -> str:
    return _UNSHOWN.sub(" ", body[: 4 * _SHOWN_CHARS].decode("utf-8", "replace")).strip()[:_SHOWN_CHARS]


def _retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds of the header, which holds seconds or a date; None when it holds neither."""
    digits = value.strip(" \t")
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        return float(digits)
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone, or of no year
        return None
