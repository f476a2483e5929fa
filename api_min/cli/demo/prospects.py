"""The demo's input: a contact list as a CRM would export it, numbers that have opted out, and our own numbers."""

from pathlib import Path

HERE = Path(__file__).parent
PROSPECTS = HERE / "prospects.csv"  # written by `make_prospects`, as the next
OPTED_OUT = HERE / "opted_out.txt"  # one E.164 number a line

SENDER_AREA_CODES = ("212", "214", "303", "305", "312", "404", "415", "602", "617", "714")
SENDERS_EACH = 4
FIRST_SENDER = 180  # 555-0180; prospects have the lines below, of the range that is kept for fiction


def senders() -> list[str]:
    """Our own forty numbers, four in each of ten area codes."""
    return [f"+1{code}555{FIRST_SENDER + n:04d}" for code in SENDER_AREA_CODES for n in range(SENDERS_EACH)]
