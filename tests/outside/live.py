"""An api in a thread of its own, for clients that block: schemathesis, raw sockets."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.clock import Clock
from engine.settings import Settings
from engine.store import clock as clock_store
from engine.store.database import connect
from tests.api.harness import Api, Client, serving

T = TypeVar("T")

ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Live:
    api: Api
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.api.url

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it where the api runs, and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ANSWER_S)

    def client(self, *args: Any, **more: Any) -> Client:
        return self.run(self.api.client(*args, **more))

    def ask(self, client: Client, method: str, path: str, json: object = None, **more: Any) -> Any:
        return self.run(client(method, path, json, **more))


@contextmanager
def live(urls: Mapping[str, str], clock: Clock | None, **changes: object) -> Iterator[Live]:
    """A serving api whose settings are `urls` and `changes`; at wall time without a clock."""
    settings = Settings.model_validate({**urls, **changes})
    ready = threading.Event()
    found: list[Live | BaseException] = []
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        if clock is not None:
            db = connect(settings.sqlalchemy_url, pool_size=1)
            await clock_store.save(db, clock)
            await db.dispose()
        over = asyncio.Event()
        async with serving(settings) as api:
            loop = asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(over.set))
            found.append(Live(api, loop))
            ready.set()
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            found.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="api")
    thread.start()
    ready.wait()
    try:
        if isinstance(found[0], BaseException):
            raise found[0]
        yield found[0]
    finally:
        for each in stop:
            each()
        thread.join()
        if isinstance(found[-1], BaseException):
            raise found[-1]
