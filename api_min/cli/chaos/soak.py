"""What a long gentle run is watched for: memory and open files of each process, the size of PostgreSQL and of Redis."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redis import Redis, RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min.cli.chaos.figures import Trend, trend
from api_min.cli.chaos.stage import Stage
from engine.store.database import autocommit

_MB = 1e6
_MOST_SAMPLES, _LEAST_S = 400, 1.0

# By how much a series may grow over the warm part of a run and still be called flat, whatever its level: what an
# allocator, a pool or a cache of fixed size takes.
_SLACK: Mapping[str, float] = {"memory_mb": 8.0, "files": 10.0, "redis_mb": 4.0}

_TABLES = text("""
    select coalesce(sum(n_dead_tup), 0)::float8 as dead, coalesce(sum(n_live_tup), 0)::float8 as live,
           coalesce(sum(pg_table_size(relid)), 0)::float8 as tables,
           coalesce(sum(pg_indexes_size(relid)), 0)::float8 as indexes,
           (select count(*) from prospects)::float8 as prospects
      from pg_stat_user_tables
""")


@dataclass(frozen=True, slots=True)
class Watched:
    """One series, none of which the work itself makes grow, and how it went."""

    name: str
    trend: Trend


class Soak:
    """`look` for ever; then `series` and `database`."""

    def __init__(self, stage: Stage, engine: AsyncEngine, seconds: float) -> None:
        self._stage = stage
        self._engine = autocommit(engine)
        self._every_s = max(_LEAST_S, seconds / _MOST_SAMPLES)
        self._samples: dict[tuple[str, str], list[tuple[float, float]]] = {}

    async def look(self) -> None:
        while True:
            self._look_at_processes()
            with suppress(RedisError, OSError):
                await asyncio.to_thread(self._look_at_redis)
            await asyncio.sleep(self._every_s)

    def series(self) -> list[Watched]:
        return [
            Watched(f"{name} {unit}", trend(samples, _SLACK[unit]))
            for (name, unit), samples in sorted(self._samples.items())
        ]

    async def database(self) -> dict[str, float]:
        """Dead rows, and megabytes of tables and indexes per million prospects. Empty when it cannot be asked."""
        with suppress(SQLAlchemyError, OSError):
            async with self._engine.connect() as conn:
                found = (await conn.execute(_TABLES)).one()
            per_million = 1e6 / max(1.0, found.prospects)
            return {
                "dead_rows": found.dead,
                "live_rows": found.live,
                "tables_mb_per_million": found.tables / _MB * per_million,
                "indexes_mb_per_million": found.indexes / _MB * per_million,
            }
        return {}

    def _look_at_processes(self) -> None:
        for child in self._stage.supervisor.running():
            if child.command.layer:  # the network remembers every call, as it should
                with suppress(OSError):
                    self._note(child.name, "memory_mb", resident_mb(child.pid))
                    self._note(child.name, "files", float(len(os.listdir(f"/proc/{child.pid}/fd"))))

    def _look_at_redis(self) -> None:
        with Redis.from_url(self._stage.servers.redis_url) as client:
            self._note("redis", "redis_mb", client.info("memory")["used_memory"] / _MB)

    def _note(self, name: str, unit: str, value: float) -> None:
        self._samples.setdefault((name, unit), []).append((time.monotonic(), value))


def resident_mb(pid: int) -> float:
    """Memory that is in use by the process alone or with others, in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


def growing(series: Sequence[Watched]) -> list[str]:
    """What grows that must not, in words."""
    return [
        f"{each.name} grew by {each.trend.growth:.1f} from about {each.trend.level:.1f} once it was warm"
        for each in series
        if not each.trend.is_flat
    ]
