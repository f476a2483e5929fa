"""When an index is read from its front. Entries that are dead lie there, and under an old snapshot they stay, by the
million in an hour: other looks begin behind them."""

from engine.clock import boottime

_EVERY_S = 10.0
_REST = 9  # times as long as it took: no more than a tenth of the time


class Front:
    def __init__(self) -> None:
        self.at = 0.0  # boottime of the next such look

    def is_due(self, now: float) -> bool:
        return now >= self.at

    def was_read(self, begun: float) -> None:
        """A look from the front that began then is over."""
        now = boottime()
        self.at = now + max(_EVERY_S, _REST * (now - begun))
