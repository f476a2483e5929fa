"""Turns events into deliveries. Each webhook knows up to which event that is done (`scanned`); moving it on and writing
the deliveries is one statement, so each matching event becomes exactly one row, however many scan and whoever dies."""

from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import text

from engine.rules.webhook import DELIVERED_CHANNELS
from engine.runtime import Runtime
from engine.store import arrays, event_chunks

_WINDOW = 2_000  # events looked at for one webhook in one statement
_MOST_AT_ONCE = 200  # webhooks
_SLOWER = 1.2  # each look that finds nothing makes the next wait so much longer
_LONGEST_WAIT_S = 0.05

_BEHIND = text("""
    select w.id, w.scanned, h.seq from webhooks w join event_heads h on h.account_id = w.account_id
     where w.active and h.seq > w.scanned limit :most
""")
# Globs as `rules.webhook.matches` reads them: `*` only at the end, so LIKE with its own wildcards escaped.
_SCAN = text(rf"""
    with behind as (
        select * from unnest(cast(:ids as bigint[]), cast(:froms as bigint[]), cast(:uptos as bigint[]))
               b (id, was, upto)
    ), free as (
        select w.id from webhooks w join behind b on b.id = w.id
         where w.active and w.scanned = b.was order by w.id for update of w skip locked
    ), moved as (
        update webhooks w set scanned = b.upto from behind b, free f
         where w.id = b.id and f.id = b.id and w.scanned = b.was
        returning w.id, w.account_id, w.ordered, b.was, b.upto,
                  array(select replace(replace(glob, '_', '\_'), '*', '%') from unnest(w.events) glob) as patterns
    )
    insert into webhook_deliveries
           (webhook_id, account_id, seq, event_type, body, next_attempt_at, give_up_at, created_at)
    select m.id, m.account_id, e.seq, e.type, e.line,
           case when m.ordered then '-infinity'::timestamptz else now() end,
           now() + make_interval(secs => :give_up_s), now()
      from moved m cross join lateral {event_chunks.between("m.account_id", "m.was", "m.upto")} e
     where e.type like any(m.patterns) and split_part(e.type, '.', 1) = any(cast(:channels as text[]))
     order by m.id, e.seq
    returning webhook_id
""")


class Scan:
    """The duty; `found` hears which webhooks have new deliveries."""

    def __init__(self, runtime: Runtime, found: Callable[[Collection[int]], Awaitable[None]]) -> None:
        self.every_s = self._poll_s = runtime.settings.webhook_poll_s
        self._db, self._reader = runtime.db, runtime.reader
        self._give_up_s = runtime.settings.webhook_give_up_s
        self._found = found

    async def run_once(self) -> int:
        """Until every webhook is at its account's newest event, or a window is behind no more. Returns the deliveries
        that were written."""
        written = await self._scan()
        slower_s = min(self.every_s * _SLOWER, max(_LONGEST_WAIT_S, self._poll_s))
        self.every_s = self._poll_s if written else slower_s
        return written

    async def _scan(self) -> int:
        written = 0
        while True:
            async with self._reader.connect() as conn:
                behind = (await conn.execute(_BEHIND, {"most": _MOST_AT_ONCE})).all()
            if not behind:
                return written
            params = {
                "ids": arrays.numbers(row.id for row in behind),
                "froms": arrays.numbers(row.scanned for row in behind),
                "uptos": arrays.numbers(min(row.seq, row.scanned + _WINDOW) for row in behind),
                "give_up_s": self._give_up_s,
                "channels": list(DELIVERED_CHANNELS),
            }
            async with self._db.begin() as conn:
                ids = (await conn.execute(_SCAN, params)).scalars().all()
            written += len(ids)
            if ids:
                await self._found(set(ids))
            if all(row.seq <= row.scanned + _WINDOW for row in behind):
                return written  # what came meanwhile, or another scanner holds, is for the next look
