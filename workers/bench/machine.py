"""What the figures depend on: the processors, the durability of the database, the versions."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

import psycopg
from redis import Redis

from engine.embedded.servers import Servers
from engine.errors import Misconfigured

_SHOWN = ("fsync", "synchronous_commit", "server_version", "shared_buffers")


def pin(count: int) -> list[int]:
    """Binds this process, and all that it starts from now on, to its first `count` CPUs; returns them."""
    if not hasattr(os, "sched_setaffinity"):
        raise Misconfigured("processes cannot be pinned to CPUs on this system: run the benchmark on Linux")
    cpus = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, cpus)
    return cpus


def facts(servers: Servers, pinned: Sequence[int]) -> dict[str, object]:
    """By name, ready for JSON."""
    with psycopg.connect(servers.database_url) as connection:
        settings = {name: _setting(connection, name) for name in _SHOWN}
    with Redis.from_url(servers.redis_url) as redis:
        redis_version = redis.info("server")["redis_version"]
    return {
        "cpus": os.cpu_count(),
        "pinned_cpus": list(pinned),
        "load_average": round(os.getloadavg()[0], 2),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": settings.pop("server_version"),
        **settings,
        "redis": redis_version,
        "dramatiq": version("dramatiq"),
        "carillon": version("carillon"),
    }


def _setting(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> str:
    row = connection.execute("select current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])
