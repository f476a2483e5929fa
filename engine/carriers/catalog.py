"""Every carrier, by hand: an adapter that registers itself on import is forgotten until the day it is needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.carriers.http import HttpOptions
from engine.carriers.instant import Instant
from engine.carriers.port import Carrier
from engine.carriers.simulated_command import SimulatedCommand
from engine.carriers.simulated_document import SimulatedDocument
from engine.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Entry:
    """`fields` are the account settings that the adapter needs, all of them text."""

    build: Callable[[Mapping[str, str], HttpOptions], Carrier]
    fields: tuple[str, ...]
    is_simulated: bool = False  # there are no people behind it; as its adapter's `caps` say


def _instant(_settings: Mapping[str, str], _http: HttpOptions) -> Carrier:
    return Instant()


_SIMULATED = ("base_url", "account_id", "secret", "signing_secret")

CARRIERS: Mapping[str, Entry] = {
    "simulated-command": Entry(SimulatedCommand, _SIMULATED, is_simulated=True),
    "simulated-document": Entry(SimulatedDocument, _SIMULATED, is_simulated=True),
    "instant": Entry(_instant, (), is_simulated=True),
}


def build(name: str, settings: Mapping[str, str], http: HttpOptions) -> Carrier:
    """One account at one carrier. Raises Misconfigured when the name or a setting is missing."""
    entry = CARRIERS.get(name)
    if entry is None:
        raise Misconfigured(f"no carrier is called {name!r}: choose one of {', '.join(sorted(CARRIERS))}")
    if missing := [field for field in entry.fields if not settings.get(field)]:
        raise Misconfigured(f"carrier {name} needs the settings {', '.join(missing)}")
    return entry.build(settings, http)


def is_simulated(name: str) -> bool:
    """Whether nobody is called or written to by it. A carrier that is not known here is a real one."""
    entry = CARRIERS.get(name)
    return entry is not None and entry.is_simulated
