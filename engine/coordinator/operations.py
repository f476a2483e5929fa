"""Hands due operations to the workers, asks for the daily audit of reputations, and forgets what is long over."""

from engine.clock import add, boottime
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.rules.operation import Kind
from engine.runtime import Runtime
from engine.store import did_pool, operations, reputation

_HOLD_S = 1.0  # a worker takes it within this, or is asked again
_DAY_S = 86_400
_MOST_AUDITS = 1_000


class Operations:
    """The api hints its own at once; these are the ones whose hint was lost, and those whose time has come."""

    every_s = 0.5

    def __init__(self, runtime: Runtime) -> None:
        self._reader, self._queue = runtime.reader, runtime.queue
        self._hold: Hold[int] = Hold(_HOLD_S)

    async def run_once(self) -> int:
        """Returns how many operations workers were asked to carry out."""
        async with self._reader.connect() as conn:
            due = await operations.due(conn)
        fresh = self._hold.take(due, boottime())
        await enqueue(self._queue, Queue.SETTLE, Actor.RUN_OPERATION, [[each] for each in fresh])
        return len(fresh)


class Audit:
    """Once a day (engine time) each number's reputation is asked for, once however many coordinators there are."""

    every_s = 60.0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run_once(self) -> int:
        """Returns how many checks were asked for."""
        now = self._runtime.clock.now()
        day = int(now.timestamp() // _DAY_S)
        asked = 0
        async with self._runtime.db.begin() as conn:
            for did in await reputation.due(conn, add(now, -_DAY_S), _MOST_AUDITS):
                provider = provider_of(did.provider, did.has_carrier, self._runtime.settings.reputation_provider)
                if provider:
                    request = {"number": did.number, "did_id": did.id}
                    found = await operations.ask(
                        conn,
                        did.account_id,
                        Kind.REPUTATION,
                        provider,
                        request,
                        now,
                        actor=did_pool.ENGINE,
                        once=f"audit:{did.id}:{day}",
                    )
                    asked += found is not None
        return asked


def provider_of(own: object, has_carrier: bool, default: str) -> str:
    """The provider that is asked about an account's numbers; empty: none.

    The simulated one must not vouch for real numbers, so an account with a carrier of its own names its own provider.
    """
    if isinstance(own, str) and own:
        return own
    return "" if has_carrier else default
