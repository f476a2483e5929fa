"""Endpoints are leased to the process that sends to them, for as long as there is something to send.

So a receiver is not sent to by two processes at once, its order is kept, and its failures are counted in one place. A
dead process is replaced when its leases end. No promise rests on a lease: whoever loses one in mid-request has sent a
delivery that another sends again, which is what *at least once* allows.
"""

import asyncio
from collections.abc import Collection

import structlog
from sqlalchemy import text

from engine.clock import boottime
from engine.runtime import Runtime
from engine.store import arrays, webhooks
from engine.webhooks.endpoint import Endpoint, Ways

log = structlog.get_logger(__name__)

_LINGER_S = 1.0  # an idle endpoint is kept for so long: the next event probably comes soon
_REFRESH_S = 1.0  # after which a change made through the API holds at the latest
_MOST_AT_ONCE = 100  # taken in one look, so that several processes share what comes up

_FACTS = f"{webhooks.COLUMNS}, greatest(0, extract(epoch from parked_until - now()))::float8 as paused_s"
_FREE = """active and parked_until <= now() and (lease_until < now() or lease_owner = :owner)
    and not id = any(cast(:held as bigint[]))"""
_LEASE = "lease_owner = :owner, lease_until = now() + make_interval(secs => :lease_s)"

_TAKE = text(f"""
    update webhooks set {_LEASE}
     where id = any(array(select id from webhooks where id = any(cast(:ids as bigint[])) and {_FREE}
                           order by id limit :most for update skip locked))
    returning {_FACTS}
""")
_TAKE_DUE = text(f"""
    update webhooks set {_LEASE}
     where id = any(array(
           select id from webhooks w where {_FREE}
              and exists (select from webhook_deliveries d where d.webhook_id = w.id and d.next_attempt_at <= now())
            order by id limit :most for update skip locked))
    returning {_FACTS}
""")
_RENEW = text(f"""
    update webhooks set {_LEASE}
     where id = any(array(select id from webhooks where id = any(cast(:ids as bigint[])) and lease_owner = :owner
                           order by id for update))
    returning {_FACTS}
""")
_RELEASE = text("""
    update webhooks set lease_owner = '', lease_until = '-infinity'
     where id = any(array(select id from webhooks where id = any(cast(:ids as bigint[])) and lease_owner = :owner
                           order by id for update))
""")


class Leases:
    """The endpoints that this process holds, by webhook. As a duty it looks for those that nobody sends to."""

    every_s = 0.5

    def __init__(self, runtime: Runtime, owner: str, ways: Ways) -> None:
        self.owner = owner
        self.held: dict[int, Endpoint] = {}
        self._db = runtime.db
        self._lease_s = runtime.settings.lease_s
        self._ways = ways

    async def run_once(self) -> int:
        """Takes endpoints with something due: retries, ended pauses, what a dead process left. Returns how many."""
        return await self._take(_TAKE_DUE, {})

    async def take(self, ids: Collection[int]) -> int:
        """Takes those of `ids` that are free."""
        wanted = [each for each in ids if each not in self.held]
        return await self._take(_TAKE, {"ids": arrays.numbers(wanted)}) if wanted else 0

    async def renew(self) -> None:
        """Keeps what is in use, reads it anew, and gives back what is idle."""
        now = boottime()
        idle = [id_ for id_, each in self.held.items() if each.is_idle(now - _LINGER_S)]
        await self._release(idle)
        if not self.held:
            return
        async with self._db.begin() as conn:
            rows = (await conn.execute(_RENEW, self._params({"ids": arrays.numbers(self.held)}))).all()
        found = {row.id: row for row in rows}
        for webhook_id in [each for each in self.held if each not in found]:
            self._drop(webhook_id)
        for webhook_id, row in found.items():
            if webhook_id in self.held:
                self.held[webhook_id].refresh(webhooks.of_row(row), row.paused_s, now + self._lease_s)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*(endpoint.close() for endpoint in self.held.values()))

    async def release_all(self) -> None:
        """Others take over at once."""
        await self._release(list(self.held))

    async def _take(self, statement: object, params: dict[str, object]) -> int:
        now = boottime()
        more = {"held": arrays.numbers(self.held), "most": _MOST_AT_ONCE}
        async with self._db.begin() as conn:
            rows = (await conn.execute(statement, self._params(params | more))).all()  # type: ignore[call-overload]
        # Another duty may have taken it meanwhile: its endpoint knows what is under way, which must not be sent again.
        fresh = [row for row in rows if row.id not in self.held]
        for row in fresh:
            self.held[row.id] = Endpoint(webhooks.of_row(row), now + self._lease_s, self._ways)
        if fresh:
            self._ways.hungry()
        return len(fresh)

    async def _release(self, ids: Collection[int]) -> None:
        if not ids:
            return
        for webhook_id in ids:
            self._drop(webhook_id)
        async with self._db.begin() as conn:
            await conn.execute(_RELEASE, self._params({"ids": arrays.numbers(ids)}))

    def _drop(self, webhook_id: int) -> None:
        self.held.pop(webhook_id).held_until = 0.0  # begins nothing more

    def _params(self, more: dict[str, object]) -> dict[str, object]:
        return {"owner": self.owner, "lease_s": self._lease_s, **more}


class Renewal:
    """The duty that keeps the leases."""

    def __init__(self, leases: Leases, lease_s: float) -> None:
        self.every_s = min(_REFRESH_S, lease_s / 4)
        self._leases = leases

    async def run_once(self) -> None:
        await self._leases.renew()
