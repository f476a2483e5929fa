import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.area_codes import area_codes
from engine.rules.phone import Rejection, area_code, country_calling, is_e164, is_region, normalise

UNKNOWN_TO_PHONENUMBERS = ["357", "436", "457", "621", "624", "679", "729", "837", "861", "924"]


@pytest.mark.parametrize("code", UNKNOWN_TO_PHONENUMBERS)
def test_codes_that_phonenumbers_does_not_know_are_accepted(code: str) -> None:
    assert normalise(f"({code}) 234-5678") == f"+1{code}2345678"


@pytest.mark.parametrize("code", sorted(area_codes()))
def test_fictional_numbers_of_every_code_in_service_are_accepted(code: str) -> None:
    assert normalise(f"{code}-555-0100") == f"+1{code}5550100"
    assert normalise(f"+1{code}5550199") == f"+1{code}5550199"


@pytest.mark.parametrize(
    ("text", "e164"),
    [
        ("(415)\u00a0555\u20110123", "+14155550123"),
        ("\u202a+1\u2009415\u2013555\u22120123\u202c", "+14155550123"),
        ("\uff0b\uff11 415 555 0123", "+14155550123"),
        ("٤١٥٥٥٥٠١٢٣", "+14155550123"),
        ("\ufeff4155550123", "+14155550123"),
        ("(415) 555-0123", "+14155550123"),
        ("415-555-0123", "+14155550123"),
        ("415.555.0123", "+14155550123"),
        ("415/555-0123", "+14155550123"),
        ("  4155550123\t", "+14155550123"),
        ("1 415 555 0123", "+14155550123"),
        ("1-415-555-0123", "+14155550123"),
        ("+1 (415) 555-0123", "+14155550123"),
        ("tel:+1-415-555-0123", "+14155550123"),
        ("TEL:415-555-0123", "+14155550123"),
        ("+44 20 7946 0018", "+442079460018"),
        ("+44 (0)20 7946 0018", "+442079460018"),
        ("011 44 20 7946 0018", "+442079460018"),
        ("+49 30 901820", "+4930901820"),
    ],
)
def test_normalise_accepts(text: str, e164: str) -> None:
    assert normalise(text) == e164


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \u200b ", "empty"),
        ("555-0123", "too_short"),
        ("415-555-012", "too_short"),
        ("415-555-01234", "too_long"),
        ("415-555-0123 / 415-555-0124", "too_long"),
        ("+1 415 555 01234", "too_long"),
        ("411-555-0123", "area_code"),
        ("+15555550123", "area_code"),
        ("+12735550123", "area_code"),  # 273 opens in 2027
        ("415-155-0123", "exchange"),
        ("415-055-0123", "exchange"),
        ("415.555.0123 x12", "extension"),
        ("415-555-0123 ext. 12", "extension"),
        ("415-555-0123;ext=12", "extension"),
        ("415-555-0123 #12", "extension"),
        ("1-800-FLOWERS", "letters"),
        ("415-555-0123 (mobile)", "letters"),
        ("n/a", "letters"),
        ("4.15556E+09", "spreadsheet"),
        ("415555012.0", "spreadsheet"),
        ("4155550123.0", "spreadsheet"),
        ("+999 12345678", "unknown_country"),
        ("---", "not_a_number"),
        ("💈", "not_a_number"),
    ],
)
def test_normalise_rejects_with_a_reason(text: str, reason: str) -> None:
    rejection = normalise(text)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == reason
    assert repr(text[:40])[1:-1] in rejection.message or text in rejection.message


def test_region_decides_about_numbers_without_a_country_code() -> None:
    assert normalise("020 7946 0018", "GB") == "+442079460018"
    assert normalise("416-555-0123", "CA") == "+14165550123"
    assert normalise("+1 415 555 0123", "GB") == "+14155550123"
    assert normalise("(415) 555-0123", "GB") != "+14155550123"
    assert is_region("GB")
    assert not is_region("XX")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+1415555012３", False),
        ("+14155550123\n", False),
        ("+04155550123", False),
        ("14155550123", False),
        ("+123456", False),
        ("+1234567", True),
        ("+123456789012345", True),
        ("+1234567890123456", False),
        ("", False),
    ],
)
def test_is_e164(text: str, expected: bool) -> None:
    assert is_e164(text) is expected


@given(st.text(max_size=24) | st.from_regex(r"\A[+(]?[0-9 ().\-]{6,18}\Z"), st.sampled_from(["US", "GB", "DE", "IT"]))
def test_normalise_is_total_idempotent_and_answers_e164(text: str, region: str) -> None:
    once = normalise(text, region)
    if isinstance(once, str):
        assert is_e164(once)
        assert normalise(once, region) == once
        assert normalise(once, "US") == once
    else:
        assert once.message


@given(st.integers(2_000_000_000, 9_999_999_999))
def test_the_short_and_the_long_path_agree(number: int) -> None:
    digits = str(number)
    short, long = normalise(digits), normalise(f"\u2009{digits}")
    reason = getattr(short, "reason", None)
    assert short == long if isinstance(short, str) else reason == getattr(long, "reason", None)


def test_parts_of_a_number() -> None:
    assert area_code("+14155550123") == "415"
    assert area_code("+442079460018") is None
    assert country_calling("+14155550123") == "1"
    assert country_calling("+442079460018") == "44"
    assert country_calling("+35312345678") == "353"
    assert country_calling("+99912345678") is None


@pytest.mark.parametrize("text", ["0000000", "000000", "00 0000 0"])
def test_zeros_alone_are_no_number(text: str) -> None:
    """A German trunk prefix is dropped at each reading: +49 000000 would become +49 00000."""
    assert isinstance(normalise(text, "DE"), Rejection)


def test_an_italian_number_keeps_its_zero() -> None:
    assert normalise("06 6982", "IT") == "+39066982" == normalise("+39066982", "DE")
