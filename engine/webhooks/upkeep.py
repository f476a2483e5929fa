"""Upkeep of deliveries: what is too old is given up, what is over is kept for some days, what is parked is counted."""

from sqlalchemy import text

from engine import metrics
from engine.rules.webhook import PARK_AFTER
from engine.runtime import Runtime
from engine.webhooks.record import DELIVERY_FACTS, publish

_BATCH = 1_000

_EXPIRE = text(f"""
    update webhook_deliveries d
       set status = 'failed', next_attempt_at = null, finished_at = now(),
           error = coalesce(error, 'its time was over before it could be sent')
     where id = any(array(select id from webhook_deliveries
                           where next_attempt_at is not null and give_up_at <= now()
                           order by id limit :batch for update skip locked))
    returning {DELIVERY_FACTS}, exists (select from webhooks w where w.id = d.webhook_id) as is_known
""")
# The oldest rows are the lowest ids: only those are looked at, and the open ones among them stay.
_PURGE = text("""
    delete from webhook_deliveries
     where id = any(array(
           select id from (select id, created_at, next_attempt_at
                             from webhook_deliveries order by id limit :batch) oldest
            where created_at < now() - make_interval(days => :keep_days) and next_attempt_at is null))
""")
_PARKED = text("select count(*) from webhooks where active and failures >= :park_after")


class Expire:
    """Deliveries of parked, paused and deleted webhooks are tried by nobody, and end here."""

    every_s = 30.0

    def __init__(self, runtime: Runtime) -> None:
        self._db, self._clock = runtime.db, runtime.clock

    async def run_once(self) -> int:
        """Returns how many were given up."""
        given_up = 0
        while True:
            async with self._db.begin() as conn:
                rows = (await conn.execute(_EXPIRE, {"batch": _BATCH})).all()
                known = [row for row in rows if row.is_known]
                await publish(conn, known, self._clock.now())
            metrics.WEBHOOK_GIVEN_UP.inc(len(known))
            given_up += len(rows)
            if len(rows) < _BATCH:
                return given_up


class Purge:
    every_s = 60.0

    def __init__(self, runtime: Runtime) -> None:
        self._db = runtime.db
        self._keep_days = runtime.settings.webhook_keep_days

    async def run_once(self) -> int:
        """Returns how many rows were deleted."""
        purged = 0
        while True:
            async with self._db.begin() as conn:
                params = {"batch": _BATCH, "keep_days": self._keep_days}
                count = (await conn.execute(_PURGE, params)).rowcount
            purged += count
            if count < _BATCH:
                return purged


class Count:
    every_s = 10.0

    def __init__(self, runtime: Runtime) -> None:
        self._reader = runtime.reader

    async def run_once(self) -> int:
        """Returns how many webhooks are parked."""
        async with self._reader.connect() as conn:
            parked = int((await conn.execute(_PARKED, {"park_after": PARK_AFTER})).scalar_one())
        metrics.WEBHOOKS_PARKED.set(parked)
        return parked
