"""How old a signed callback may be."""

TOLERANCE_S = 300
_MOST_DIGITS = 12  # of epoch seconds; Python refuses to read thousands of them


def is_fresh(stamp: str, now_s: float) -> bool:
    """Whether `stamp`, the epoch seconds that a carrier has signed, is within `TOLERANCE_S` of now."""
    return stamp.isdecimal() and len(stamp) <= _MOST_DIGITS and abs(now_s - int(stamp)) <= TOLERANCE_S
