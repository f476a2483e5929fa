"""How many parts a text message takes, by its encoding. Carriers bill and limit parts, not messages.

One part carries 140 octets. A text in the GSM 7-bit alphabet packs 160 septets into them, any other goes as UCS-2, 70
code units. A longer one is cut, and each part then spends 6 octets on a header that puts them together again: 153
septets or 67 units remain. A character of two units (an escape of the extension table, a surrogate pair) is never cut
in half, so a part may end one unit early. Source: 3GPP TS 23.038 (alphabet) and 23.040 (header); see COMPLIANCE 3.
"""

from collections.abc import Iterable
from typing import NamedTuple

GSM_7, UCS_2 = "GSM-7", "UCS-2"

# 3GPP TS 23.038, 6.2.1, in the order of its table. Position 0x1B is the escape to the extension table: no character.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")  # 6.2.1.1: an escape and a second septet
_ALPHABET = _BASIC | _EXTENDED

_SINGLE = {GSM_7: 160, UCS_2: 70}
_PART = {GSM_7: 153, UCS_2: 67}


class Segments(NamedTuple):
    """`encoding` is `GSM-7` or `UCS-2`; `units` are its septets or 16-bit code units; `parts` is what is billed."""

    encoding: str
    units: int
    parts: int


def count(text: str) -> Segments:
    """The parts of one text; an empty one takes none."""
    encoding = GSM_7 if _ALPHABET.issuperset(text) else UCS_2
    units = len(text) + (_doubles_gsm(text) if encoding == GSM_7 else _doubles_ucs(text))
    if units <= _SINGLE[encoding]:
        return Segments(encoding, units, 1 if text else 0)
    return Segments(encoding, units, _parts(_widths(text, encoding), _PART[encoding]))


def foreign(text: str) -> str:
    """The characters that keep a text out of GSM-7, each once, in their order: what its writer may want to replace."""
    return "".join(dict.fromkeys(character for character in text if character not in _ALPHABET))


def _doubles_gsm(text: str) -> int:
    return sum(map(text.count, _EXTENDED))


def _doubles_ucs(text: str) -> int:
    return sum(character > "\uffff" for character in text)


def _widths(text: str, encoding: str) -> Iterable[int]:
    if encoding == GSM_7:
        return (2 if character in _EXTENDED else 1 for character in text)
    return (2 if character > "\uffff" else 1 for character in text)


def _parts(widths: Iterable[int], size: int) -> int:
    parts, used = 1, 0
    for width in widths:
        used += width
        if used > size:
            parts, used = parts + 1, width
    return parts
