"""A worker process: a Dramatiq worker whose batched queues feed one asyncio pipeline. `python -m workers.worker`.

One process per supervised unit: Dramatiq's own command line would stop every sibling when one process dies.

On SIGTERM it drains: it takes no new hints, waits until every ticket is answered or expired and every answer is
written, acknowledges what is done, hands back what it never began, and exits.
"""

import asyncio
import gc
import itertools
import random
import signal
import sys
from collections.abc import Mapping, Sequence

import dramatiq
import structlog
import uvloop
from dramatiq.errors import ConnectionClosed
from redis import RedisError

from engine import log as logs
from engine import metrics
from engine.carriers.port import Carrier
from engine.carriers.reputation import ReputationProvider
from engine.coordinator.duty import Keeper, end
from engine.dispatch.hints import Job, by_queue
from engine.dispatch.media import MediaFetch
from engine.dispatch.operate import Operating
from engine.dispatch.pipeline import Pipeline
from engine.dispatch.settle import SettleContext
from engine.dispatch.settling import Settling
from engine.embedded.lifeline import report_ready, watch_parent
from engine.limits.slots import SendSlots
from engine.rules.states import rules
from engine.rules.telephony import Channel
from engine.runtime import Runtime, running
from engine.settings import Settings
from workers.actors import dispatch
from workers.broker import CarillonBroker
from workers.encoder import OrjsonEncoder

log = structlog.get_logger(__name__)

WORKER_THREADS = 1  # idle: the consumers call the actors, which only hand their message on
POOL_SIZE = 12  # two pipelines of two lanes, the settling lanes, and room for commands
POLL_MS = 100
RECONNECT_S = 0.2  # Dramatiq's three seconds would be most of a restart of Redis
# Python's 5 ms would let the consumer's thread hold up the loop for a third of a slot's tolerance.
SWITCH_S = 0.0005
# A batch makes tens of thousands of short-lived objects: with Python's thresholds full collections stop the loop for
# longer than a slot's tolerance, and find nothing.
GC_THRESHOLDS = (50_000, 20, 100)


class CarriersByName(dict[str, Carrier]):
    """Built at first use: a worker opens no connection to a carrier that it never calls."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def __missing__(self, name: str) -> Carrier:
        return self._runtime.carrier(name)


class ProvidersByName(dict[str, ReputationProvider]):
    """Likewise for those who know the reputation of numbers."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def __missing__(self, name: str) -> ReputationProvider:
        return self._runtime.reputation_provider(name)


class WorkerProcess:
    """Everything of one worker. `start`, wait, `stop`."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        dramatiq.set_encoder(OrjsonEncoder())
        self.broker = CarillonBroker(settings.queue_url, middleware=[])
        carriers = CarriersByName(runtime)
        writers = itertools.count(random.randrange(1, 1 << 24) * 64, 16)  # each part counts into rows of its own
        context = SettleContext(
            clock=runtime.clock,
            settings=settings,
            writer=next(writers),
            document_carriers=runtime.document_carriers,
        )
        self.settling = Settling(runtime.db, carriers, context, self.broker.finished)
        providers = ProvidersByName(runtime)
        self.operating = Operating(runtime.db, carriers, providers, runtime.clock, settings, self.broker.finished)
        slots = SendSlots(runtime.redis)
        self.pipelines = {
            channel: Pipeline(
                channel,
                runtime.db,
                runtime.clock,
                settings,
                slots,
                carriers,
                self.settling,
                self._finished,
                next(writers),
            )
            for channel in Channel
        }
        dispatch.declare(self.broker, self._submit, self.settling.settle, self.settling.watch, self.operating.run)
        dramatiq.worker.CONSUMER_RESTART_DELAY_SECS = RECONNECT_S
        self.worker = dramatiq.Worker(self.broker, worker_threads=WORKER_THREADS, worker_timeout=POLL_MS)
        self.worker.queue_prefetch = settings.prefetch

    def start(self) -> None:
        self.worker.start()

    def health(self) -> Mapping[str, bool]:
        """Whether each queue's consumer still lives: one that has ended comes back with a restart only. A Redis that is
        away ends none, and no restart would help."""
        return {str(queue): thread.is_alive() for queue, thread in tuple(self.worker.consumers.items())}

    async def stop(self) -> None:
        """Drains; see above."""
        self.broker.close_intake()
        for pipeline in self.pipelines.values():
            await pipeline.drain()
        await self.settling.drain()
        await self.operating.drain()
        handed_back = await asyncio.to_thread(self._leave)
        log.info("worker.stopped", handed_back=handed_back)

    def _submit(self, job: Job) -> None:
        self.pipelines[job.channel].submit(job)

    def _finished(self, jobs: Sequence[Job]) -> None:
        for queue, ids in by_queue(jobs).items():
            self.broker.finished(queue, ids)

    def _leave(self) -> int:
        """Ends the consumers' threads; what they still hold then is not begun. Returns how much was handed back."""
        handed_back = 0
        try:
            self.worker.stop()
            handed_back = self.broker.hand_back()
            self.broker.close()
        except (RedisError, ConnectionClosed) as error:
            # Hints are only hints: those that could not be handed back are enqueued again by the coordinator.
            log.warning("worker.left_without_redis", error=str(error))
        return handed_back


async def run(settings: Settings) -> None:
    """Runs one worker until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running(settings, pool_size=POOL_SIZE, keyed=True) as runtime:
        rules()  # read now: the first intent's transaction would wait for it
        process = WorkerProcess(runtime)
        port = metrics.serve(settings.metrics_host, settings.metrics_port, process.health)
        process.start()
        keeper = Keeper(MediaFetch(runtime))
        fetching = asyncio.create_task(keeper.keep())
        fetching.add_done_callback(_log_end)
        log.info("worker.started", metrics_port=port)
        report_ready(metrics_port=port)
        await stopping.wait()
        await asyncio.gather(end({keeper: fetching}), process.stop())


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("media.stopped", error=repr(error))


def main() -> None:
    watch_parent()
    settings = Settings()
    logs.configure("worker", settings)
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
