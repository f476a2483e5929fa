"""Skipped, with the reason, where the platform has no network namespaces for us."""

from collections.abc import Iterator

import pytest

from tests.network.namespaces import Network, refusal


@pytest.fixture(scope="session")
def namespaces() -> None:
    if why := refusal():
        pytest.skip(why)


@pytest.fixture
def network(namespaces: None) -> Iterator[Network]:
    network = Network()
    yield network
    network.close()
