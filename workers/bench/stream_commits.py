"""Transactions that cause events, at a steady rate: as each change of state does, they end with rows in the outbox."""

import threading
import time
from typing import Self

import psycopg

from engine.store.event_chunks import CHUNK_EVENTS
from workers.bench.stream_load import body

_PUBLISH = "insert into outbox (account_id, count, body) values (%s, %s, %s)"


class Commits:
    """Commits `per_commit` events every `per_commit / rate` seconds, from a thread, until all are committed."""

    def __init__(self, url: str, account_id: int, events: int, rate: float, per_commit: int) -> None:
        self.failure: BaseException | None = None
        self._url, self._account_id = url, account_id
        self._events, self._rate, self._per_commit = events, rate, per_commit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commits")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.failure is not None and error[0] is None:
            raise self.failure

    def wait(self) -> None:
        """Until all are committed."""
        self._thread.join()

    def _run(self) -> None:
        try:
            with psycopg.connect(self._url) as connection:
                self._commit_all(connection)
        except psycopg.Error as error:
            self.failure = error

    def _commit_all(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        begun = time.monotonic()
        for first in range(1, self._events + 1, self._per_commit):
            if self._stop.wait(max(0.0, begun + (first - 1) / self._rate - time.monotonic())):
                return
            events = [body(first + n).decode() for n in range(self._per_commit)]
            connection.execute(_PUBLISH, [self._account_id, len(events), "\n".join(events)])
            connection.commit()


def commit(url: str, account_id: int, events: int) -> None:
    """All at once."""
    with Commits(url, account_id, events, rate=1e9, per_commit=CHUNK_EVENTS) as commits:
        commits.wait()
