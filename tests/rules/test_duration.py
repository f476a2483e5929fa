import pytest

from engine.errors import InvalidInput
from engine.rules.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("4h", 14_400), ("30m", 1_800), ("45s", 45), ("1d", 86_400), ("30d", 2_592_000), ("1s", 1)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text, "mode.retry_delay") == seconds


@pytest.mark.parametrize(
    "value",
    [
        "0s",
        "31d",
        "721h",
        "",
        "h",
        "4",
        4,
        4.5,
        True,
        None,
        "-4h",
        "4 h",
        "4H",
        "1h30m",
        "1.5h",
        "4h\n",
        "٤h",
        ["4h"],
        "9" * 20 + "s",
    ],
)
def test_anything_else_names_the_field_and_the_remedy(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_duration(value, "mode.retry_delay")
    assert "give" in str(caught.value.fields["mode.retry_delay"])
