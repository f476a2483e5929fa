"""Feeds the endpoints that this process holds: one query for all that have room."""

from collections.abc import Iterable
from itertools import groupby

from sqlalchemy import text

from engine.clock import boottime
from engine.runtime import Runtime
from engine.store import arrays
from engine.webhooks.endpoint import Due
from engine.webhooks.leases import Leases

# The lease and the pause are looked at with the rows: what an endpoint's owner has changed holds from the next fetch.
_FETCH = text("""
    select h.id as webhook_id, d.id, d.seq, d.event_type, d.body, d.attempts, d.left_s, d.waited_s
      from unnest(cast(:ids as bigint[]), cast(:rooms as int[])) h (id, room)
      join webhooks w on w.id = h.id and w.active and w.lease_owner = :owner and w.lease_until > now()
     cross join lateral (
           select id, seq, event_type, body, attempts, extract(epoch from give_up_at - now())::float8 as left_s,
                  extract(epoch from now() - created_at)::float8 as waited_s
             from webhook_deliveries
            where webhook_id = h.id and next_attempt_at <= now() and give_up_at > now()
              and not id = any(cast(:busy as bigint[]))
            order by next_attempt_at, seq limit h.room) d
""")


class Pump:
    every_s = 0.1  # for what other processes have scanned; what this one does nudges it

    def __init__(self, runtime: Runtime, leases: Leases) -> None:
        self._reader = runtime.reader
        self._leases = leases
        self._looked_at = 0.0
        self._woken: set[int] = set()  # while a fetch was under way: it may have come too early for them

    async def run_once(self) -> int:
        """Returns how many deliveries were fetched."""
        if boottime() >= self._looked_at + self.every_s:
            self._looked_at = boottime()
            self.wake(self._leases.held)
        self._woken.clear()
        rooms = {webhook_id: room for webhook_id, each in self._leases.held.items() if (room := each.room)}
        if not rooms:
            return 0
        busy = [delivery for webhook_id in rooms for delivery in self._leases.held[webhook_id].busy]
        params = {
            "ids": arrays.numbers(rooms),
            "rooms": arrays.numbers(rooms.values()),
            "busy": arrays.numbers(busy),
            "owner": self._leases.owner,
        }
        async with self._reader.connect() as conn:
            rows = (await conn.execute(_FETCH, params)).all()
        found = {id_: list(group) for id_, group in groupby(rows, lambda row: int(row.webhook_id))}
        for webhook_id, room in rooms.items():
            if endpoint := self._leases.held.get(webhook_id):
                due = [Due(*row[1:]) for row in found.get(webhook_id, ())]
                endpoint.offer(due, room)
        self.wake(list(self._woken))
        return len(rows)

    def wake(self, webhook_ids: Iterable[int]) -> None:
        """These may have something due."""
        for webhook_id in webhook_ids:
            self._woken.add(webhook_id)
            if endpoint := self._leases.held.get(webhook_id):
                endpoint.is_drained = False
