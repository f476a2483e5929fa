"""`bench import`: a CSV file through the api, against a COPY of the same rows, normalised, into the same table."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import psycopg

from engine.embedded.servers import Servers
from engine.ids import encode
from engine.processes.stack import API, HOST, MODULES
from engine.store.seed import DEV_ACCOUNT_ID
from workers.bench import contacts, meter
from workers.bench.client import Client
from workers.bench.contacts import Plan
from workers.bench.databases import Databases
from workers.bench.engine_side import Engine
from workers.bench.figures import Goal, Result, Sample, alternate
from workers.bench.verify import WorkLost, one

OURS, COPY = "import through the api", "COPY"
_BLOCK_BYTES = 1 << 20
_COPY = "copy prospects (campaign_id, account_id, phone, data) from stdin"


def run(servers: Servers, size: int, rounds: int, tell: Callable[[str], None]) -> Result:
    with Databases(servers) as databases, tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder:
        csv = _write(Path(folder) / "contacts.csv", _csv_lines(size))
        with databases.fresh() as url:
            loaded = contacts.load(url, Plan((0,)))
        rows = _write(Path(folder) / "contacts.copy", _copy_lines(size, loaded.campaign_ids[0]))
        lines = alternate(
            {
                OURS: lambda: _import(servers, databases, csv, size),
                COPY: lambda: _copy(servers, databases, rows, size),
            },
            rounds,
            tell,
        )
    figures = {"ratio": lines[0].rate / lines[1].rate, "rows": size}
    return Result("import", "row", lines, figures, [Goal("ratio", 0.3)])


def _import(servers: Servers, databases: Databases, csv: Path, size: int) -> Sample:
    with databases.fresh() as url:
        loaded = contacts.load(url, Plan((0,)))
        with Engine(servers, url) as engine:
            engine.supervisor.start(API, MODULES[API], {"CARILLON_PORT": "0"})
            port = int(str(engine.supervisor.wait_ready(API)["port"]))
            groups = engine.groups()
            groups.pop("redis", None)
            with Client(HOST, port, loaded.key) as client, csv.open("rb") as file:
                path = f"/api/campaigns/{encode('camp', loaded.campaign_ids[0])}/prospects/import"
                before, begun = meter.cpu_s(groups), time.monotonic()
                report = client.post(path, file, csv.stat().st_size)
                sample = Sample(size, time.monotonic() - begun, meter.used_since(before, groups))
        _verify(url, size, f"the api reported {report}")
    return sample


def _copy(servers: Servers, databases: Databases, rows: Path, size: int) -> Sample:
    with databases.fresh() as url:
        contacts.load(url, Plan((0,)))
        groups = meter.server_groups(servers)
        groups.pop("redis", None)
        with psycopg.connect(url) as connection, rows.open("rb") as file:
            before, begun = meter.cpu_s(groups), time.monotonic()
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                while block := file.read(_BLOCK_BYTES):
                    copy.write(block)
            connection.commit()
            sample = Sample(size, time.monotonic() - begun, meter.used_since(before, groups))
        _verify(url, size, "COPY")
    return sample


def _verify(url: str, size: int, what: str) -> None:
    with psycopg.connect(url) as connection:
        if (found := one(connection, "select count(*) from prospects")) != size:
            raise WorkLost(f"{found} of {size} rows were imported. {what}")


def _csv_lines(size: int) -> Iterator[str]:
    """As people export them: three ways to write a number, and a further column."""
    yield "phone,name\n"
    for index, phone in enumerate(contacts.phones(size)):
        area, exchange, line = phone[2:5], phone[5:8], phone[8:]
        written = (phone, f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}")[index % 3]
        yield f"{written},{_name(index)}\n"


def _copy_lines(size: int, campaign_id: int) -> Iterator[str]:
    for index, phone in enumerate(contacts.phones(size)):
        data = orjson.dumps({"name": _name(index)}).decode()
        yield f"{campaign_id}\t{DEV_ACCOUNT_ID}\t{phone}\t{data}\n"


def _name(index: int) -> str:
    return f"Contact {index}"


def _write(path: Path, lines: Iterator[str]) -> Path:
    with path.open("w") as file:
        file.writelines(lines)
    return path
