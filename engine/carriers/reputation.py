"""The contract with those who know what the analytics engines of the networks say of a number, and who there is.

A provider is asked by a worker, never by the api. It says what it found, or why it could not; the engine decides.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from engine.carriers.http import HttpOptions
from engine.carriers.simulated_reputation import SimulatedReputation
from engine.carriers.verdicts import Verdicts
from engine.errors import Misconfigured


class ReputationProvider(Protocol):
    name: str

    async def check(self, number: str) -> Verdicts:
        """What the engines say of an E.164 number now. Never raises for what the provider does."""
        ...

    async def close(self) -> None: ...


PROVIDERS: Mapping[str, Callable[[Mapping[str, str], HttpOptions], ReputationProvider]] = {
    "simulated": SimulatedReputation,
}


def build(name: str, settings: Mapping[str, str], http: HttpOptions) -> ReputationProvider:
    """The provider called `name`. Raises Misconfigured when there is none."""
    if name not in PROVIDERS:
        raise Misconfigured(f"no reputation provider is called {name!r}: choose one of {', '.join(sorted(PROVIDERS))}")
    return PROVIDERS[name](settings, http)
