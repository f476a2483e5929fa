"""The event log as Redis keeps it: one stream per account, one entry per chunk of consecutive events.

An entry has the id `<last number>-0` and the fields `first` (number) and `body` (canonical JSON, one event a line): it
is a chunk as PostgreSQL has it. Redis only caches: what it lost, PostgreSQL has.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

EXPIRY_S = 86_400  # streams of silent accounts, and of an epoch that is over, leave by themselves

Key = bytes | str | memoryview
Position = int | bytes | str | memoryview
Entry = tuple[bytes, Mapping[bytes, bytes]]  # (id, fields)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chunk:
    """The events numbered `first` to `last` of one account: canonical JSON, one event a line."""

    account_id: int
    first: int
    last: int
    body: bytes

    def after(self, seq: int) -> list[bytes]:
        """The lines of the events numbered `seq + 1` and on."""
        lines = self.body.split(b"\n")
        return lines[max(0, seq + 1 - self.first) :]

    def between(self, after: int, upto: int) -> "Chunk | None":
        """Those of the events that are in `after < number ≤ upto`; None when none is."""
        if after < self.first and self.last <= upto:
            return self
        first, last = max(self.first, after + 1), min(self.last, upto)
        lines = self.after(after)[: max(0, last - first + 1)]
        return None if not lines else Chunk(self.account_id, first, last, b"\n".join(lines))


def joined(run: Iterable[Chunk], size: int = sys.maxsize) -> Iterator[Chunk]:
    """The same events in fewer chunks: what follows on one another is joined until a chunk has `size` bytes."""
    held: list[Chunk] = []
    held_size = 0
    for chunk in run:
        if held and (chunk.first != held[-1].last + 1 or held_size >= size):
            yield _one(held)
            held, held_size = [], 0
        held.append(chunk)
        held_size += len(chunk.body)
    if held:
        yield _one(held)


def _one(run: Sequence[Chunk]) -> Chunk:
    if len(run) == 1:
        return run[0]
    return Chunk(run[0].account_id, run[0].first, run[-1].last, b"\n".join(chunk.body for chunk in run))


def stream_key(epoch: str, account_id: int) -> str:
    """The epoch names one history of the database: a restored one, which gives numbers again, has other streams."""
    return f"ev:{epoch}:{account_id}"


def parse(account_id: int, entry: Entry) -> Chunk:
    entry_id, fields = entry
    return Chunk(account_id, int(fields[b"first"]), int(entry_id.partition(b"-")[0]), fields[b"body"])


async def add(redis: Redis, epoch: str, chunks: Sequence[Chunk], keep: int) -> None:
    """Appends chunks to their streams, which keep about the newest `keep` events. Raises RedisError.

    A stream that already holds higher numbers was written by another history or by a relay that overtook this one: it
    is begun anew, and readers fill the hole from PostgreSQL.
    """
    refused = await _append(redis, epoch, chunks, keep)
    if refused:
        _log.warning("stream.restarted", accounts=len({chunk.account_id for chunk in refused}))
        await redis.delete(*{stream_key(epoch, chunk.account_id) for chunk in refused})
        await _append(redis, epoch, refused, keep)


async def _append(redis: Redis, epoch: str, chunks: Sequence[Chunk], keep: int) -> list[Chunk]:
    """Answers the chunks that Redis refused because of their numbers."""
    pipe = redis.pipeline(transaction=False)
    for chunk in chunks:
        key = stream_key(epoch, chunk.account_id)
        pipe.xadd(
            key,
            {"first": chunk.first, "body": chunk.body},
            id=f"{chunk.last}-0",
            minid=f"{max(0, chunk.last - keep)}-0",
            approximate=True,
        )
        pipe.expire(key, EXPIRY_S)
    answers = await pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
            raise answer
    return [chunk for chunk, answer in zip(chunks, answers[::2], strict=True) if isinstance(answer, ResponseError)]


async def since(redis: Redis, epoch: str, account_id: int, after: int) -> list[Chunk]:
    """The unbroken run of chunks up to the newest that Redis holds, begun with `after + 1` or later; maybe empty.

    Raises RedisError.
    """
    run: list[Chunk] = []
    entries = cast(list[Entry], await redis.xrange(stream_key(epoch, account_id), min=f"{after + 1}-0"))
    for entry in entries:
        chunk = parse(account_id, entry)
        if run and chunk.first != run[-1].last + 1:
            run.clear()
        run.append(chunk)
    return run


async def follow(
    redis: Redis, positions: Mapping[Key, Position], count: int, block_s: float
) -> list[tuple[bytes, list[Entry]]]:
    """New entries, at most `count` a stream, as (key, entries); waits `block_s` for the first. Raises RedisError."""
    answer = await redis.xread(dict(positions), count=count, block=int(block_s * 1000))
    return cast(list[tuple[bytes, list[Entry]]], answer)
