"""A primary and its synchronous standby, as `deploy/failover.md` sets them up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.own_servers import LOOPBACK, Postgres, home, new_postgres, new_standby

_STANDBY = "standby"
_START_S = 30.0


@dataclass(frozen=True, slots=True)
class Pair:
    primary: Postgres
    standby: Postgres

    @property
    def url(self) -> str:
        """Of both, in libpq's form, as `DATABASE_URL` takes it."""
        servers = f"{LOOPBACK}:{self.primary.port},{LOOPBACK}:{self.standby.port}"
        return f"postgresql://postgres@{servers}/carillon?target_session_attrs=read-write"

    def fail_over(self) -> None:
        """The primary dies, all of it at once, and the standby takes its place. Returns when it can be written."""
        self.primary.kill()
        self.standby.ask("select pg_promote()")


@contextmanager
def primary_and_standby(folder: Path) -> Iterator[Pair]:
    with home(folder) as made:
        primary = new_postgres(made, "primary")
        primary.start()
        standby = new_standby(made, _STANDBY, primary)
        standby.start()
        primary.tell(f"alter system set synchronous_standby_names = 'FIRST 1 ({_STANDBY})'", "select pg_reload_conf()")
        _await_synchronous(primary)
        try:
            yield Pair(primary, standby)
        finally:
            standby.stop()
            primary.stop()


def _await_synchronous(primary: Postgres) -> None:
    deadline = time.monotonic() + _START_S
    while primary.ask("select count(*) from pg_stat_replication where sync_state = 'sync'") != "1":
        assert time.monotonic() < deadline, "the standby does not follow"
        time.sleep(0.05)
