"""What a reputation provider answers."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.carriers.port import CarrierError
from engine.rules.reputation import EngineVerdict


class Verdicts(NamedTuple):
    """One verdict per engine that the provider knows; `error` when it could not tell."""

    verdicts: Sequence[EngineVerdict]
    error: CarrierError | None = None
