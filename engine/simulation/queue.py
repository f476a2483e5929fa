"""Redis's queues: messages that may be lost, doubled, late and out of order, or forgotten altogether."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint
from engine.rules.telephony import Channel

if TYPE_CHECKING:
    from engine.simulation.world import World

REDELIVERED_S = 5.0  # after the death of the worker that held it
_NOBODY_S = 1.0


class Message(NamedTuple):
    """One of: a hint of a channel, callbacks to settle, attempts to watch; for a coordinator, a campaign to wake."""

    id: int
    hint: Hint | None = None
    channel: Channel = Channel.VOICE
    callbacks: tuple[int, ...] = ()
    attempts: tuple[AttemptKey, ...] = ()
    campaign_id: int = 0

    @property
    def kind(self) -> str:
        return "hint" if self.hint else "settle" if self.callbacks else "wake" if self.campaign_id else "watch"


class Taker(Protocol):
    """A process that takes messages."""

    is_up: bool
    stopped_until_us: int

    async def take(self, message: Message) -> None: ...


class Queue:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._seen: Counter[str] = Counter()
        self._epoch = 0
        self._count = 0

    def hint(self, hint: Hint, channel: Channel) -> None:
        self._push(Message(self._next(), hint=hint, channel=channel))

    def settle(self, callbacks: list[int]) -> None:
        if callbacks:
            self._push(Message(self._next(), callbacks=tuple(callbacks)))

    def watch(self, attempts: list[AttemptKey]) -> None:
        if attempts:
            self._push(Message(self._next(), attempts=tuple(attempts)))

    def wake(self, campaign_id: int) -> None:
        self._push(Message(self._next(), campaign_id=campaign_id))

    def flush(self) -> None:
        self._epoch += 1

    def again(self, messages: list[Message]) -> None:
        for message in messages:
            self._deliver(message, REDELIVERED_S)

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _push(self, message: Message) -> None:
        self._seen[message.kind] += 1
        n = self._seen[message.kind]
        wrong = self._world.script.fault("queue", message.kind, n)
        if wrong is not None:
            self._world.note("queue", f"{wrong.kind} {message.kind} #{n}")
            if wrong.kind == "queue.lost":
                return
            self._deliver(message, wrong.amount)
            if wrong.kind == "queue.late":
                return
        self._deliver(message, self._world.timeline.spread(0.001, 0.03, "queue", message.kind, n))

    def _deliver(self, message: Message, wait_s: float) -> None:
        epoch = self._epoch

        async def arrive() -> None:
            if epoch != self._epoch:
                return
            takers: Sequence[Taker] = self._world.coordinators if message.campaign_id else self._world.workers
            first = int(self._world.timeline.spread(0, 2, "worker", message.id))
            for taker in (*takers[first:], *takers[:first]):
                if taker.is_up and taker.stopped_until_us <= self._world.time.now_us:
                    await taker.take(message)
                    return
            self._deliver(message, _NOBODY_S)

        self._world.timeline.after(wait_s, None, arrive)
