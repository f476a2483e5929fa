"""The rival of `bench stream`: nchan, an nginx module for event streams, with one worker on one core."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import Unavailable
from engine.processes.stack import HOST, choose_port
from workers.bench import meter

MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"))
MODULE = "ngx_nchan_module.so"
SUBSCRIBE, PUBLISH = "/sub", "/pub"
START_S, STOP_S = 10.0, 10.0

_CONFIG = """
load_module {module};
daemon off;
worker_processes 1;
worker_cpu_affinity {mask};
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 20000; use epoll; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 256M;
    server {{
        listen {host}:{port} backlog=4096;
        nchan_channel_id bench;
        nchan_message_buffer_length 1000;
        location = {subscribe} {{ nchan_subscriber eventsource; nchan_subscriber_first_message newest; }}
        location = {publish} {{ nchan_publisher; }}
    }}
}}
"""


def module() -> Path | None:
    """Where nchan is installed (Debian: `libnginx-mod-nchan`); None when it, or nginx, is not."""
    if shutil.which("nginx") is None:
        return None
    return next((folder / MODULE for folder in MODULES if (folder / MODULE).exists()), None)


@contextmanager
def nchan(found: Path, folder: Path, cpu: int) -> Iterator[tuple[int, int]]:
    """(port, pid of the worker) of an nginx that serves one channel. Raises Unavailable when it does not start."""
    port = choose_port(0)
    folder.mkdir(mode=0o755)
    config = folder / "nginx.conf"
    mask = format(1 << cpu, "b")
    names = {"module": found, "mask": mask, "folder": folder, "host": HOST, "port": port}
    config.write_text(_CONFIG.format(**names, subscribe=SUBSCRIBE, publish=PUBLISH))
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", str(folder / "error.log"), *user])
    try:
        started = meter.wait_until(lambda: _workers(process.pid) != [] or process.poll() is not None, START_S)
        if not started or process.returncode is not None or not meter.wait_until(lambda: _listens(port), START_S):
            raise Unavailable(f"nginx did not start: {(folder / 'error.log').read_text()[-500:]}")
        yield port, _workers(process.pid)[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _workers(master: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
