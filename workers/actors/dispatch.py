"""The actors of the batched queues. Each returns at acceptance; the result is in PostgreSQL."""

from collections.abc import Callable

import dramatiq

from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint, Job
from engine.jobs import Actor, Queue
from engine.rules.telephony import Channel
from workers.broker import CarillonBroker
from workers.consumer import received


def declare(
    broker: CarillonBroker,
    dial: Callable[[Job], None],
    settle: Callable[[str, list[int]], None],
    watch: Callable[[str, list[AttemptKey]], None],
    operate: Callable[[str, int], None],
) -> None:
    """Declares the actors on `broker`. The callables hand the work to the process's pipeline, with its message id."""

    @dramatiq.actor(broker=broker, queue_name=Queue.DIAL, actor_name=Actor.PLACE_CALL)
    def place_call(*hint: int | str) -> None:
        """Places one call. Returns at acceptance; the result is in PostgreSQL."""
        dial(_job(hint, Channel.VOICE))

    @dramatiq.actor(broker=broker, queue_name=Queue.SEND, actor_name=Actor.SEND_MESSAGE)
    def send_message(*hint: int | str) -> None:
        """Sends one text. Returns at acceptance; the result is in PostgreSQL."""
        dial(_job(hint, Channel.SMS))

    @dramatiq.actor(broker=broker, queue_name=Queue.SETTLE, actor_name=Actor.SETTLE_CALLBACKS)
    def settle_callbacks(callback_ids: list[int]) -> None:
        """Folds stored carrier callbacks into their attempts. Returns at acceptance; the result is in PostgreSQL."""
        settle(received().id, callback_ids)

    @dramatiq.actor(broker=broker, queue_name=Queue.SETTLE, actor_name=Actor.WATCH_ATTEMPTS)
    def watch_attempts(keys: list[list[int]]) -> None:
        """Looks at attempts whose time has come. Returns at acceptance; the result is in PostgreSQL."""
        watch(received().id, [AttemptKey(*key) for key in keys])

    @dramatiq.actor(broker=broker, queue_name=Queue.SETTLE, actor_name=Actor.RUN_OPERATION)
    def run_operation(operation_id: int) -> None:
        """Does at a carrier what the api asked for. Returns at acceptance; the result is in PostgreSQL."""
        operate(received().id, operation_id)


def _job(hint: tuple[int | str, ...], channel: Channel) -> Job:
    return Job(Hint(*hint), channel, *received())  # type: ignore[arg-type]
