"""The embedded Redis: its command line, and how to tell that it is ours and ready."""

import re
import socket
from pathlib import Path

NAME = "redis"
QUEUE_DATABASE = 0  # Dramatiq's own: its recovery script lists every key
DATABASE = 1


def command_line(program: Path, host: str, port: int) -> list[str]:
    """Nothing is written to disk: Redis is disposable (promise P8)."""
    return [str(program), "--bind", host, "--port", str(port), "--save", "", "--appendonly", "no"]


def url(host: str, port: int, database: int) -> str:
    return f"redis://{host}:{port}/{database}"


def is_ready(pid: int, host: str, port: int) -> bool:
    """True when the process `pid` answers; another server on that port is not ours to use."""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(b"INFO server\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False
    found = re.search(rb"process_id:(\d+)", answer)
    return found is not None and int(found[1]) == pid
