"""Logs: one JSON object a line in production, coloured text in development, and no secret in either.

Redaction works on the finished line, exceptions and foreign libraries included: a secret that slipped into a message,
a field or a stack trace is caught at the one place that every line must pass.
"""

import logging
import re
import sys
from typing import Any

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from engine.settings import Settings

REDACTED = "[redacted]"

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(tk_(?:live|test)_)[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
    (re.compile(r"\b(whsec_)[A-Za-z0-9+/=_-]+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{4,}"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b(token=)[^&\s\"'\\]+"), rf"\1{REDACTED}"),
    (re.compile(r"(://[^/\s:@\"']*:)[^@/\s\"']+(@)"), rf"\1{REDACTED}\2"),
    # a field that is named after a secret, in JSON and in a Python repr
    (
        re.compile(r"(?i)([\"'][a-z_]*(?:secret|password|token|authorization)[\"']:\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*')"),
        rf'\1"{REDACTED}"',
    ),
)
_QUIET = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "asyncio",
    "aiohttp",
    "dramatiq",
    "python_multipart",
)


def redact(text: str) -> str:
    """`text` with keys, bearer tokens, `token=` parameters and passwords in URLs replaced."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def configure(process: str, settings: Settings) -> None:
    """Sends structlog and the standard library's logging to stderr, in one form, bound to the process's name."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = settings.is_development
    final: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if console:
        # Plain: rich would print the locals of every frame, secrets too, and take a second of the event loop for it.
        plain = structlog.dev.plain_traceback
        final.append(_redacting(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)))
    else:
        final += [structlog.processors.format_exc_info, _redacting(structlog.processors.JSONRenderer(_json))]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:  # foreign libraries speak only of trouble
        foreign = logging.getLogger(name)
        foreign.handlers.clear()
        foreign.propagate = True
        foreign.setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)


def _json(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _redacting(renderer: Processor) -> Processor:
    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return redact(str(renderer(logger, name, event)))

    return render
