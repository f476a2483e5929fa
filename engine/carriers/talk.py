"""How long people talked, as a carrier reports it."""

_LONGEST_S = 2**31 - 1  # as much as the columns hold; one such report would fail all that are written with it


def talk_s(reported: str | float) -> int | None:
    """Whole seconds; None for what no call can last. Raises ValueError or TypeError for what is no number."""
    seconds = int(reported)
    return seconds if 0 <= seconds <= _LONGEST_S else None
