"""What the checkers look at."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.errors import InvalidInput
from engine.rules.telephony import Channel


@dataclass(frozen=True, slots=True)
class Create:
    """One request that reached the carrier."""

    ref: str
    at: float  # real epoch seconds, stamped by the carrier
    accepted: bool
    from_: str
    to: str
    channel: Channel
    lag_s: float = 0.0  # it arrived up to so many seconds before `at`: the carrier's process was busy


@dataclass(frozen=True, slots=True)
class Evidence:
    """`creates` is None without a carrier log; the checkers that need one are then skipped."""

    engine: AsyncEngine
    clock: Clock
    creates: tuple[Create, ...] | None = None
    ticket_s: float = 2.0
    sms_gap_s: float = 900.0
    did_policy: str = ""  # the setting
    # A create leaves at its slot and is stamped when the carrier's process reads it: on a busy machine a little later.
    arrival_jitter_s: float = 0.05
    relay_s: float = 5.0  # within which the relay must take an event; alive, it does so in milliseconds

    @property
    def accepted(self) -> list[Create]:
        """The creates that the carrier accepted, in the order of their arrival."""
        return sorted((create for create in self.creates or () if create.accepted), key=lambda create: create.at)


def read_creates(path: Path) -> tuple[Create, ...]:
    """The creates of a carrier's log (JSON lines with `type`, `at`, `ref`, `from`, `to`, `channel`, `accepted`).

    Raises InvalidInput for a file that is no such log. A last line cut off by a kill does not count.
    """
    try:
        with path.open("rb") as lines:  # a long run's are more than memory holds at once
            return parse_creates(lines)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path} is not a carrier's log: {error}") from error


def parse_creates(lines: Iterable[bytes]) -> tuple[Create, ...]:
    """Those of a part of such a log. Raises KeyError, TypeError or ValueError for what is none."""
    whole = (line for line in lines if line.endswith(b"\n"))
    return tuple(_creates(map(orjson.loads, whole)))


def _creates(entries: Iterable[dict[str, object]]) -> Iterable[Create]:
    for entry in entries:
        if entry["type"] == "create":
            yield Create(
                ref=str(entry["ref"]),
                at=float(str(entry["at"])),
                accepted=bool(entry["accepted"]),
                from_=str(entry["from"]),
                to=str(entry["to"]),
                channel=Channel(str(entry["channel"])),
                lag_s=float(str(entry.get("lag_s", 0.0))),
            )
