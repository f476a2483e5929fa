"""How long a request has waited for this process, as the kernel knows: what comes while it is busy is stamped late."""

import asyncio
import socket
import struct

_LAST_DATA_RECV = 52  # where `struct tcp_info` has `tcpi_last_data_recv`, in milliseconds
_TICK_S = 0.01  # the kernel counts in ticks of its clock


def waited_s(transport: asyncio.BaseTransport | None) -> float:
    """Seconds since the last bytes of this connection came, at least. 0 when the client has gone meanwhile."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.fileno() < 0:
        return 0.0
    ours = socket.socket(fileno=sock.fileno())
    try:
        told = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV + 4)
    finally:
        ours.detach()
    return float(struct.unpack_from("=I", told, _LAST_DATA_RECV)[0] / 1000 + _TICK_S)
