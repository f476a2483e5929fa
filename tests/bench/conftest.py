"""Databases to measure on, over the run's own servers."""

from collections.abc import Iterator

import pytest

from engine.embedded.servers import Servers
from workers.bench.databases import Databases


@pytest.fixture
def databases(servers: Servers) -> Iterator[Databases]:
    with Databases(servers) as found:
        yield found
