from collections.abc import Iterator

import pytest

from engine.clock import under
from engine.simulation.timeline import VirtualTime
from tests.limits.servers import RedisServer, Server, Twin


@pytest.fixture(params=["redis", "twin"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "redis":
        yield RedisServer(request.getfixturevalue("redis"))
        return
    time = VirtualTime()
    with under(time):
        yield Twin(time)
