"""Machines joined by a switch, on one kernel: network namespaces without a name, so that none outlives the test.

A link is cut by silence: what is sent is lost, nothing is refused and nobody is told, as when a cable is pulled
somewhere between.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_OWN = Path("/proc/thread-self/ns/net")
_REVERSE_PATH = Path("/proc/sys/net/ipv4/conf/all/rp_filter")
_NETWORK = "10.77.0"


class Machine:
    """A namespace with one address on the switch; number 0 is the switch itself."""

    def __init__(self, number: int) -> None:
        self.address = f"{_NETWORK}.{number}"
        home = os.open(_OWN, os.O_RDONLY)
        try:
            _system(_LIBC.unshare(_NEWNET))
            self.file = os.open(_OWN, os.O_RDONLY)
            _system(_LIBC.setns(home, _NEWNET))
        finally:
            os.close(home)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and what it starts meanwhile, is on the machine."""
        home = os.open(_OWN, os.O_RDONLY)
        _system(_LIBC.setns(self.file, _NEWNET))
        try:
            yield
        finally:
            _system(_LIBC.setns(home, _NEWNET))
            os.close(home)

    def ip(self, *commands: str) -> None:
        with self.entered():
            subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, capture_output=True)

    def cut(self, other: "Machine") -> None:
        """Nothing goes to `other` and nothing comes from it."""
        self._check_sources(1)
        self._lose_what_is_for(other)

    def cut_answers(self, other: "Machine") -> None:
        """What `other` sends still comes, but nothing goes back to it."""
        self._check_sources(0)
        self._lose_what_is_for(other)

    def mend(self, other: "Machine") -> None:
        self.ip(f"route del {other.address}/32 dev void")

    def close(self) -> None:
        os.close(self.file)

    def _lose_what_is_for(self, other: "Machine") -> None:
        self.ip(f"route replace {other.address}/32 dev void")

    def _check_sources(self, value: int) -> None:
        """1: the kernel drops what comes from where it would not send an answer."""
        with self.entered():
            _REVERSE_PATH.write_text(str(value))


class Network:
    """A switch and the machines plugged into it."""

    def __init__(self) -> None:
        self._machines = [Machine(0)]
        self._machines[0].ip("link add switch type bridge", "link set switch up")

    def plug(self) -> Machine:
        switch, number = self._machines[0], len(self._machines)
        machine = Machine(number)
        self._machines.append(machine)
        machine.ip(
            "link set lo up",
            f"link add wire type veth peer name port{number} netns /proc/{os.getpid()}/fd/{switch.file}",
            f"address add {machine.address}/24 dev wire",
            "link set wire up",
            # what is sent into the void comes out at its other end, where nobody wants it
            "link add void type veth peer name abyss",
            "link set void arp off",
            "link set void up",
            "link set abyss up",
        )
        switch.ip(f"link set port{number} master switch", f"link set port{number} up")
        return machine

    def close(self) -> None:
        for machine in self._machines:
            machine.close()


def refusal() -> str:
    """Why this system cannot do it; empty when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        network = Network()
        one, two = network.plug(), network.plug()
        one.cut(two)
        network.close()
    except FileNotFoundError as error:
        return f"network namespaces need {error.filename}"
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', None) or error}"
    return ""


def _system(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
