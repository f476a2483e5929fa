"""Telephone numbers: E.164 as the only form inside the engine, and the way into it from what people type.

North American numbers take a short path: three digits of an area code in service, then an exchange that begins with
2–9. `phonenumbers` alone would refuse ten codes in service since 2023 (357, 436, 457, …) and the fictional 555-01XX.
Every other number goes through `phonenumbers`.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from engine.rules.area_codes import area_codes

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PUNCTUATION = str.maketrans("", "", " ()-./\t\u00a0")
_EXTENSION = re.compile(r"(?i)(?:;?\s*ext(?:ension)?\b|;ext=|[\s\d)](?:x|#))[\s.:=#]*\d+\s*$")
_SCIENTIFIC = re.compile(r"(?i)\s*\d[.,]?\d*e\+?\d+\s*")
_LETTER = re.compile(r"[^\W\d_]")

_REASONS = {
    "empty": "is empty; give a telephone number",
    "letters": "contains letters; give digits only, such as +14155550123",
    "extension": "has an extension, which a campaign cannot dial; give the direct number",
    "spreadsheet": "was changed by a spreadsheet; format the column as text and export again",
    "not_a_number": "is not a telephone number; give it as +14155550123",
    "too_short": "has too few digits; a number of this country needs its area code",
    "too_long": "has too many digits; give one number, as +14155550123",
    "unknown_country": "begins with a country code that does not exist",
    "area_code": "has an area code that is not in service",
    "exchange": "has an exchange (the three digits after the area code) that begins with 0 or 1, which none does",
}
_IMPOSSIBLE = {
    ValidationResult.TOO_SHORT: "too_short",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "too_short",
    ValidationResult.TOO_LONG: "too_long",
    ValidationResult.INVALID_COUNTRY_CODE: "unknown_country",
}
_UNPARSED = {
    NumberParseException.INVALID_COUNTRY_CODE: "unknown_country",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too_short",
    NumberParseException.TOO_SHORT_NSN: "too_short",
    NumberParseException.TOO_LONG: "too_long",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a text is no number that can be dialled. `reason` is one of the closed set in this file."""

    reason: str
    text: str

    @property
    def message(self) -> str:
        return f"'{self.text[:40]}' {_REASONS[self.reason]}"


def is_e164(text: str) -> bool:
    """`+`, then 7 to 15 ASCII digits of which the first is not 0. Says nothing about whether it can be dialled."""
    return _E164.fullmatch(text) is not None


def normalise(text: str, region: str = "US") -> str | Rejection:
    """E.164 of what a person or a spreadsheet wrote, read as in `region` (ISO 3166) when it has no country code.

    Idempotent. US numbers need an area code in service and an exchange that begins with 2–9 (COMPLIANCE 4).
    """
    bare = text.translate(_PUNCTUATION)
    if bare.isascii():
        size = len(bare)
        if size == 12 and bare.startswith("+1"):
            national = bare[2:]
        elif size == 10 and region in _nanp_regions():
            national = bare
        elif size == 11 and bare[0] == "1" and region in _nanp_regions():
            national = bare[1:]
        else:
            return _normalise_any(text, region)
        if national.isdigit() and not text.endswith(".0"):
            return _north_american(national, text)
    return _normalise_any(text, region)


def area_code(e164: str) -> str | None:
    """The three digits after +1, or None for a number of another country."""
    return e164[2:5] if len(e164) == 12 and e164.startswith("+1") else None


def country_calling(e164: str) -> str | None:
    """`"44"` of `"+442079460018"`; None when no country has such a code."""
    return _country_of_prefix(e164[1:4])


def is_region(region: str) -> bool:
    """True for an ISO 3166 code that has telephone numbers, such as `US` or `GB`."""
    return region in phonenumbers.SUPPORTED_REGIONS


def _north_american(national: str, text: str) -> str | Rejection:
    if national[:3] not in area_codes():
        return Rejection("area_code", text)
    if national[3] in "01":
        return Rejection("exchange", text)
    return "+1" + national


def _normalise_any(text: str, region: str) -> str | Rejection:
    clean = "".join(map(_plain, text)).strip()
    clean = clean[4:] if clean[:4].lower() == "tel:" else clean
    if rejection := _refuse_shape(clean, text):
        return rejection
    try:
        number = phonenumbers.parse(clean, region)
    except NumberParseException as error:
        return Rejection(_UNPARSED.get(error.error_type, "not_a_number"), text)
    verdict = phonenumbers.is_possible_number_with_reason(number)
    if verdict != ValidationResult.IS_POSSIBLE:
        return Rejection(_IMPOSSIBLE.get(verdict, "not_a_number"), text)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if number.country_code == 1:
        return _north_american(e164[2:], text)
    if e164[1 + len(str(number.country_code))] == "0" and not _reads_as_itself(e164):
        return Rejection("not_a_number", text)
    return e164 if is_e164(e164) else Rejection("not_a_number", text)


def _reads_as_itself(e164: str) -> bool:
    """Zeros in front are part of a number in few countries (Italy); elsewhere each reading would drop one."""
    try:
        again = phonenumbers.parse(e164)
    except NumberParseException:
        return False
    return phonenumbers.format_number(again, phonenumbers.PhoneNumberFormat.E164) == e164


def _refuse_shape(clean: str, text: str) -> Rejection | None:
    """What `phonenumbers` would accept by dropping or translating a part: a wrong person could be called."""
    if not clean:
        return Rejection("empty", text)
    if _EXTENSION.search(clean):
        return Rejection("extension", text)
    if _SCIENTIFIC.fullmatch(clean) or clean.endswith(".0"):
        return Rejection("spreadsheet", text)
    if _LETTER.search(clean):
        return Rejection("letters", text)
    return None


def _plain(char: str) -> str:
    """ASCII for Unicode's digits, dashes, spaces and full-width forms; nothing for invisible marks."""
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category in ("Pd", "Zs"):
        return "-" if category == "Pd" else " "
    if category in ("Cf", "Mn"):
        return ""
    return "-" if char == "\u2212" else unicodedata.normalize("NFKC", char)


@cache
def _nanp_regions() -> frozenset[str]:
    return frozenset(phonenumbers.region_codes_for_country_code(1))


@cache
def _country_of_prefix(digits: str) -> str | None:
    for size in (1, 2, 3):
        if digits[:size].isdigit() and int(digits[:size]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return digits[:size]
    return None
