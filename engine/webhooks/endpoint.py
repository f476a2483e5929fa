"""One endpoint that this process holds: what it is being sent, and what it is spared.

A slow endpoint holds up only itself: it has a few requests under way and no more. One that failed gets a single request
at a time; one that is parked, none. An ordered one gets the next event when it has accepted the one before; what it has
accepted is recorded in batches behind that, so a killed process may repeat a short run of events, in their order.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from engine.clock import boottime
from engine.rules.webhook import PARK_AFTER, Answer, Decision, Verdict, judge
from engine.store.webhooks import Webhook

log = structlog.get_logger(__name__)

_QUEUED_PER_REQUEST = (
    4  # deliveries held in memory for each that may be under way: the next fetch is then never awaited
)


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery to be made."""

    id: int
    seq: int
    event_type: str
    body: str
    attempts: int  # so far
    left_s: float  # until it is given up
    waited_s: float  # since its event was seen


@dataclass(frozen=True, slots=True)
class Result:
    endpoint: "Endpoint"
    due: Due
    answer: Answer
    decision: Decision
    took_s: float  # from the event seen to the answer


@dataclass(frozen=True, slots=True)
class Ways:
    """How an endpoint reaches what is around it."""

    send: Callable[[Webhook, int, str], Awaitable[Answer]]
    done: Callable[[Result], None]  # writes it down, and calls `recorded` when that is durable
    hungry: Callable[[], None]  # asks for more deliveries
    permits: asyncio.Semaphore  # requests under way in this process
    width: int


class Endpoint:
    def __init__(self, webhook: Webhook, held_until: float, ways: Ways) -> None:
        self.webhook = webhook
        self.held_until = held_until  # boottime; no request begins after it
        self.failures = webhook.failures
        self.paused_until = 0.0  # boottime
        self.is_drained = False  # the last fetch brought all that was due
        self.idle_since = boottime()
        self.has_news = False  # `failures` or the pause differ from the row
        self.has_recovered = False  # it was parked, and the row does not know yet that it is not
        self._ways = ways
        self._waiting: deque[Due] = deque()
        self._busy: set[int] = set()  # waiting, under way, or not yet recorded
        self._in_flight = 0
        self._failed_at = 0.0  # boottime of the last failure that counted
        self._stuck_at: int | None = None  # of an ordered endpoint: the failed head, until that is recorded
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False  # begins nothing more: the process ends, or the endpoint wants nothing more

    @property
    def busy(self) -> frozenset[int]:
        """Deliveries that must not be fetched again."""
        return frozenset(self._busy)

    @property
    def is_paused(self) -> bool:
        is_over = self._is_closed or not self.webhook.active
        return is_over or self._stuck_at is not None or self.paused_until > boottime()

    @property
    def room(self) -> int:
        """How many more deliveries to fetch; 0 while it has enough."""
        capacity = self._ways.width * _QUEUED_PER_REQUEST
        room = capacity - len(self._busy)
        return 0 if self.is_paused or self.is_drained or room < capacity // 2 else room

    def is_idle(self, since: float) -> bool:
        """Whether nothing has been under way since boottime `since`, and it is not spared for what its row does not
        know: somebody else would send at once."""
        is_spared = self.has_news and self.paused_until > boottime()
        return not self._busy and self.idle_since < since and not is_spared

    def refresh(self, webhook: Webhook, paused_s: float, held_until: float) -> None:
        """The row as it is now; the lease was renewed."""
        self.webhook, self.held_until = webhook, held_until
        if not self.has_news:
            self.failures, self.paused_until = webhook.failures, boottime() + paused_s
        self._begin()

    def offer(self, found: Sequence[Due], asked: int) -> None:
        """What a fetch of `asked` deliveries brought."""
        self.is_drained = len(found) < asked
        fresh = [due for due in found if due.id not in self._busy]
        self._busy.update(due.id for due in fresh)
        self._waiting.extend(fresh)
        self._begin()

    def recorded(self, result: Result) -> None:
        """The result is durable, or cannot be written: then the delivery will be made again."""
        self._busy.discard(result.due.id)
        if self._stuck_at == result.due.id:
            self._stuck_at = None
        if not self._busy:
            self.idle_since = boottime()
        self._begin()

    def told(self, failures: int) -> None:
        """The row knows of `failures` in a row."""
        if self.failures == failures:
            self.has_news = self.has_recovered = False

    def hold(self, seconds: float) -> None:
        """Nothing is sent for so long, whatever the row says."""
        self.paused_until = max(self.paused_until, boottime() + seconds)
        self.has_news = True

    async def close(self) -> None:
        """Begins nothing more and waits for what is under way."""
        self._is_closed = True
        self._forget_waiting()
        await asyncio.gather(*self._tasks)

    def _begin(self) -> None:
        limit = 1 if self.webhook.ordered or self.failures else self._ways.width
        while self._waiting and self._in_flight < limit and not self.is_paused:
            self._in_flight += 1
            task = asyncio.create_task(self._deliver(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self.is_paused:
            self._forget_waiting()
        elif self.room:
            self._ways.hungry()

    def _forget_waiting(self) -> None:
        self._busy.difference_update(due.id for due in self._waiting)
        self._waiting.clear()

    async def _deliver(self, due: Due) -> None:
        is_ordered = self.webhook.ordered
        async with self._ways.permits:
            if self._is_closed or boottime() >= self.held_until:
                self._in_flight -= 1
                if self._is_closed:
                    self._busy.discard(due.id)
                else:
                    self._waiting.appendleft(due)  # should the lease be renewed, nothing may overtake it
                return
            began_at = boottime()
            answer = await self._send(due)
        self._learn(answer, began_at)
        decision = judge(answer, due.attempts + 1, self.failures, due.left_s, random.random(), is_ordered=is_ordered)
        self._obey(decision)
        if is_ordered and not answer.is_accepted:
            self._stuck_at = due.id  # a fetch would leave it out while it is busy, and the next would overtake it
        self._in_flight -= 1
        self._ways.done(Result(self, due, answer, decision, due.waited_s + boottime() - began_at))
        self._begin()

    async def _send(self, due: Due) -> Answer:
        try:
            return await self._ways.send(self.webhook, due.seq, due.body)
        except Exception:  # a bug of ours must cost this delivery its attempt, not the endpoint its place
            log.exception("webhook.send_failed", webhook=self.webhook.public_id, event_type=due.event_type)
            return Answer(0, "it could not be sent, by a fault of ours")

    def _learn(self, answer: Answer, began_at: float) -> None:
        if answer.is_accepted and not self.failures:
            return
        self.has_news = True
        if not answer.is_accepted:
            # Requests that were under way together tell of one outage, and count as one failure.
            if began_at >= self._failed_at:
                self.failures += 1
                self._failed_at = boottime()
            return
        if self.failures >= PARK_AFTER:
            self.has_recovered = True
            log.info("webhook.recovered", webhook=self.webhook.public_id)
        self.failures, self.paused_until = 0, 0.0

    def _obey(self, decision: Decision) -> None:
        if decision.verdict is Verdict.GONE:
            self._is_closed = True
            log.info("webhook.disabled", webhook=self.webhook.public_id, reason="gone")
        elif decision.pause_s:
            self.paused_until = max(self.paused_until, boottime() + decision.pause_s)
            if self.failures == PARK_AFTER:
                log.info("webhook.parked", webhook=self.webhook.public_id, failures=self.failures)
