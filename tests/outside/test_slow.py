"""Clients that take for ever: to send, to read, or to do nothing. Each is let go in time, and others are
served meanwhile."""

import asyncio
import contextlib
import gzip
import resource
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from api_min import bodies, connections
from api_min.connections import BoundedConnection
from api_min.places import Places
from tests.api.harness import Client
from tests.outside.live import Live
from tests.outside.test_streams import UPGRADE, frame, until
from tests.outside.things import DID

SHORT_S = 0.3
DEADLINE_S = 30.0
CROWD = 100


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Production's times would take minutes."""
    for name in ("head_timeout_s", "rest_timeout_s", "stalled_s"):
        monkeypatch.setattr(BoundedConnection, name, SHORT_S)
    monkeypatch.setattr(bodies, "PATIENCE_S", SHORT_S)


@pytest.fixture(scope="module")
def key(outside: Live) -> str:
    return outside.client(numbers=[DID]).key


@pytest.fixture
def campaign(outside: Live, key: str) -> str:
    return outside.run(Client(outside.api.session, outside.url, key).campaign())


@contextlib.contextmanager
def connected(outside: Live, sent: bytes = b"") -> Iterator[socket.socket]:
    host, _, port = outside.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(sent)
        yield connection


def request(method: str, path: str, key: str, *headers: str) -> bytes:
    authorization = (f"Authorization: Bearer {key}",) if key else ()
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *authorization, *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes, which it must."""
    received = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while data := connection.recv(65_536):
            received += data
    return received


def drip(connection: socket.socket, data: bytes) -> bytes:
    """Sends it again and again, a little later each time, until the server has closed; returns its answer."""
    connection.settimeout(0.02)
    received, began = b"", time.monotonic()
    while time.monotonic() - began < DEADLINE_S:
        try:
            connection.sendall(data)
            more = connection.recv(65_536)
            if not more:
                return received
            received += more
        except TimeoutError:
            continue
        except OSError:
            return received
    raise AssertionError("the server keeps a connection that hardly sends")


def is_served(outside: Live) -> bool:
    with connected(outside, request("GET", "/healthz", "", "Connection: close")) as connection:
        return read_all(connection).startswith(b"HTTP/1.1 200")


def is_held(outside: Live, connection: socket.socket) -> bool:
    """Whether the server has it open; the client does not see the end while it does not read."""
    return connection.getsockname() in {each.client for each in list(outside.api.server.server_state.connections)}


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # the server's thread wants to run


JSON = "Content-Type: application/json"
CSV = "Content-Type: text/csv"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/api/campaigns", "/carriers/simulated-command/callbacks"])
def test_a_body_that_stops_is_given_up(outside: Live, key: str, path: str, length: str) -> None:
    """Of a callback too, whose sender has shown nothing yet."""
    with connected(outside, request("POST", path, key, JSON, length)) as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


@pytest.mark.usefixtures("impatient")
def test_a_body_that_hardly_comes_is_given_up(outside: Live, key: str) -> None:
    with connected(outside, request("POST", "/api/campaigns", key, JSON, "Content-Length: 100000")) as connection:
        assert drip(connection, b" ").startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("impatient")
def test_an_upload_that_hardly_comes_gives_its_place_back(outside: Live, key: str, campaign: str) -> None:
    path = f"/api/campaigns/{campaign}/prospects/import"
    with connected(outside, request("POST", path, key, CSV, "Transfer-Encoding: chunked")) as connection:
        connection.sendall(b"6\r\nphone\n\r\n")
        assert drip(connection, b"1\r\n1\r\n").startswith(b"HTTP/1.1 408 ")
    whole = b"phone\n+14155550100\n"
    head = request("POST", path, key, CSV, f"Content-Length: {len(whole)}", "Connection: close")
    with connected(outside, head + whole) as connection:
        assert b'"added":1' in read_all(connection)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("key_sent", ["", "tk_test_nobody"])
def test_who_is_refused_may_not_send_on_for_ever(outside: Live, key_sent: str) -> None:
    head = request("POST", "/api/campaigns", key_sent, JSON, "Content-Length: 1000000000")
    with connected(outside, head) as connection:
        assert drip(connection, b" ").startswith(b"HTTP/1.1 401 ")


@pytest.mark.usefixtures("impatient")
def test_a_refused_body_that_ends_in_time_costs_no_connection(outside: Live) -> None:
    """Its client, which sends first and reads then, gets to read; and the next request is on the same connection."""
    with connected(outside, request("POST", "/api/campaigns", "", JSON, "Content-Length: 100000")) as connection:
        for _ in range(10):
            connection.sendall(b" " * 10_000)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(request("GET", "/healthz", "", "Connection: close"))
        assert b"HTTP/1.1 200 OK" in read_all(connection)


@pytest.mark.usefixtures("impatient")
def test_empty_lines_are_no_next_request(outside: Live) -> None:
    with connected(outside, request("GET", "/healthz", "")) as connection:
        received = b""
        while not received.endswith(b'{"ok":true}'):
            received += connection.recv(65_536)
        connection.sendall(b"\r\n")
        assert read_all(connection) == b""


@pytest.mark.usefixtures("impatient")
def test_no_refusal_is_written_into_a_stream(outside: Live, key: str) -> None:
    """Of a request whose head is slow: the stream before it is cut, and goes on by its last id."""
    with connected(outside, request("GET", "/api/events", key)) as connection:
        assert until(connection, rb"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        assert b"HTTP/1.1" not in drip(connection, b"a")


def test_nor_is_that_of_a_head_that_is_too_large(outside: Live, key: str) -> None:
    with connected(outside, request("GET", "/api/events", key)) as connection:
        assert until(connection, rb"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Large: ")
        assert b"HTTP/1.1" not in drip(connection, b"a" * 10_000)


@pytest.mark.usefixtures("impatient")
def test_a_websocket_on_a_kept_connection_stays(outside: Live) -> None:
    with connected(outside, request("GET", "/healthz", "")) as connection:
        assert until(connection, rb'{"ok":true}').startswith(b"HTTP/1.1 200 ")
        connection.sendall(UPGRADE)
        assert until(connection, rb"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        with connected(outside) as later:
            assert read_all(later) == b""  # its time for a head is over: so would be one that began before
        connection.sendall(frame(0x9, b""))
        assert until(connection, rb"..") == b"\x8a\x00"


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_nobody_reads_is_given_up(outside: Live, key: str) -> None:
    with connected(outside) as connection:
        catalog = request("GET", "/api/events/catalog", "")
        connection.sendall(catalog * 400)  # 16 MB of answers: more than the kernel takes for both sides
        eventually(lambda: is_held(outside, connection))
        eventually(lambda: not is_held(outside, connection))
    assert is_served(outside)


@pytest.mark.usefixtures("impatient")
def test_a_crowd_of_them_is_gone_in_time_and_others_are_served(outside: Live, key: str) -> None:
    sent = [
        b"",
        b"GET /healthz HTTP/1.1\r\nX-Slow: ",
        request("POST", "/api/campaigns", key, JSON, "Content-Length: 9"),
        request("POST", "/carriers/simulated-document/callbacks", "", "Content-Length: 9"),
        request("POST", "/api/campaigns", "", JSON, "Content-Length: 9"),
    ]
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(outside, sent[n % len(sent)])) for n in range(CROWD)]
        assert is_served(outside)
        for connection in crowd:
            read_all(connection)
            eventually(lambda connection=connection: not is_held(outside, connection))  # type: ignore[misc]


def test_a_flood_leaves_files_for_the_database(outside: Live, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the most that may be open they are cut; those that are in are served, and later ones when there is room."""
    monkeypatch.setattr(connections, "most_connections", lambda: 20)
    with connected(outside, request("GET", "/healthz", "")) as first:
        assert first.recv(65_536).startswith(b"HTTP/1.1 200")
        with contextlib.ExitStack() as stack:
            flood = [stack.enter_context(connected(outside)) for _ in range(60)]
            eventually(lambda: len(outside.api.server.server_state.connections) == 20)
            cut = flood[-1]
            assert read_all(cut) == b""
            first.sendall(request("GET", "/readyz", "", "Connection: close"))
            assert b'"database":true' in read_all(first)
    eventually(lambda: len(outside.api.server.server_state.connections) < 20)
    assert is_served(outside)


def test_files_are_kept_back_for_what_we_need() -> None:
    assert connections.most_connections() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 128


def test_a_compressed_body_is_not_unpacked(outside: Live, key: str, campaign: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    for path, kind in (("/api/campaigns", JSON), (f"/api/campaigns/{campaign}/prospects/import", CSV)):
        head = request(
            "POST", path, key, kind, f"Content-Length: {len(bomb)}", "Content-Encoding: gzip", "Connection: close"
        )
        with connected(outside, head + bomb) as connection:
            assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_an_endless_header_of_a_part_is_refused(outside: Live, key: str, campaign: str) -> None:
    kind = "Content-Type: multipart/form-data; boundary=x"
    head = request("POST", f"/api/campaigns/{campaign}/prospects/import", key, kind, "Transfer-Encoding: chunked")
    with connected(outside, head) as connection:
        part = b"--x\r\nContent-Disposition: form-data; filename=" + b"a" * 50_000
        connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


async def test_no_account_takes_all_places_for_imports() -> None:
    places = Places(most=3, most_per_account=2)
    entered: list[int] = []
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def upload(account_id: int) -> None:
        async with places.take(account_id):
            entered.append(account_id)
            if account_id == 2:
                arrived.set()
            await leave.wait()

    greedy = [asyncio.create_task(upload(1)) for _ in range(10)]
    other = asyncio.create_task(upload(2))
    async with asyncio.timeout(DEADLINE_S):
        await arrived.wait()
        assert entered.count(1) == 2
        leave.set()
        await asyncio.gather(other, *greedy)
    assert entered.count(1) == 10
    assert not places._own  # an account that has gone is forgotten
