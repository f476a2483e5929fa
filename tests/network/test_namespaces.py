"""The tests' own instrument: a cut link is silent, in both directions or in one, and can be mended."""

import socket
from collections.abc import Iterator

import pytest

from tests.network.namespaces import Machine, Network


@pytest.fixture
def pair(network: Network) -> Iterator[tuple[Machine, Machine, socket.socket, socket.socket]]:
    """Two machines with a connection between them."""
    one, two = network.plug(), network.plug()
    with two.entered():
        server = socket.create_server((two.address, 0))
    with one.entered():
        client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    for end in (client, accepted):
        end.settimeout(0.5)
    with server, client, accepted:
        yield one, two, client, accepted


Pair = tuple[Machine, Machine, socket.socket, socket.socket]


def test_a_link_carries(pair: Pair) -> None:
    _, _, client, server = pair
    client.sendall(b"ping")
    assert server.recv(10) == b"ping"
    server.sendall(b"pong")
    assert client.recv(10) == b"pong"


def test_a_cut_link_is_silent_until_it_is_mended(pair: Pair) -> None:
    one, two, client, server = pair
    one.cut(two)
    client.sendall(b"ping")  # no error: nobody is told
    server.sendall(b"pong")
    for end in (client, server):
        with pytest.raises(TimeoutError):
            end.recv(10)
    with one.entered(), pytest.raises(TimeoutError):
        socket.create_connection(server.getsockname(), timeout=0.5)
    one.mend(two)
    for end in (client, server):
        end.settimeout(10.0)
    assert server.recv(10) == b"ping"  # TCP has kept it
    assert client.recv(10) == b"pong"


def test_only_the_answers_may_be_lost(pair: Pair) -> None:
    one, two, client, server = pair
    two.cut_answers(one)
    client.sendall(b"ping")
    assert server.recv(10) == b"ping"
    server.sendall(b"pong")
    with pytest.raises(TimeoutError):
        client.recv(10)


def test_others_hear_nothing_of_it(pair: Pair, network: Network) -> None:
    one, two, _, server = pair
    third = network.plug()
    one.cut(two)
    with third.entered():
        socket.create_connection(server.getsockname(), timeout=5.0).close()
