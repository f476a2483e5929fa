"""Parts of a text message: exact for both encodings, and never one too few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.segments import GSM_7, UCS_2, count, foreign

EMOJI = "\U0001f600"
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = "\f^{}\\[~]|€"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (GSM_7, 0, 0), id="nothing"),
        pytest.param("a", (GSM_7, 1, 1), id="one letter"),
        pytest.param("a" * 160, (GSM_7, 160, 1), id="a full single part"),
        pytest.param("a" * 161, (GSM_7, 161, 2), id="one septet more"),
        pytest.param("a" * 306, (GSM_7, 306, 2), id="two full parts"),
        pytest.param("a" * 307, (GSM_7, 307, 3), id="a third part"),
        pytest.param("a" * 1600, (GSM_7, 1600, 11), id="the longest text in GSM-7"),
        pytest.param("€" * 80, (GSM_7, 160, 1), id="extension characters are two septets"),
        pytest.param("€" * 81, (GSM_7, 162, 2), id="and fill a part twice as fast"),
        pytest.param("€" * 153, (GSM_7, 306, 3), id="76 pairs to a part of 153: the last septet stays empty"),
        pytest.param("a" * 152 + "€" + "a" * 152, (GSM_7, 306, 3), id="a pair at the seam moves on whole"),
        pytest.param("a" * 151 + "€" + "a" * 153, (GSM_7, 306, 2), id="a pair that just fits"),
        pytest.param("\f", (GSM_7, 2, 1), id="form feed is an extension"),
        pytest.param("`", (UCS_2, 1, 1), id="a backtick is not GSM-7"),
        pytest.param("ç", (UCS_2, 1, 1), id="nor is the small c with cedilla, unlike the large one"),
        pytest.param("\t", (UCS_2, 1, 1), id="nor is a tab"),
        pytest.param("\x1b", (UCS_2, 1, 1), id="nor is a lone escape"),
        pytest.param("é" * 70, (GSM_7, 70, 1), id="accents of the basic table cost nothing"),
        pytest.param("ж" * 70, (UCS_2, 70, 1), id="a full single part in UCS-2"),
        pytest.param("ж" * 71, (UCS_2, 71, 2), id="one unit more"),
        pytest.param("ж" * 134, (UCS_2, 134, 2), id="two full UCS-2 parts"),
        pytest.param("ж" * 135, (UCS_2, 135, 3), id="a third UCS-2 part"),
        pytest.param("ж" * 1600, (UCS_2, 1600, 24), id="the longest text in UCS-2"),
        pytest.param(EMOJI * 35, (UCS_2, 70, 1), id="an emoji is two units"),
        pytest.param(EMOJI * 67, (UCS_2, 134, 3), id="33 pairs to a part of 67"),
        pytest.param("ж" * 66 + EMOJI + "ж" * 66, (UCS_2, 134, 3), id="a surrogate pair at the seam moves on whole"),
        pytest.param("\u2019" + "a" * 159, (UCS_2, 160, 3), id="one curly quote turns one part into three"),
    ],
)
def test_parts_of_known_texts(text: str, expected: tuple[str, int, int]) -> None:
    assert count(text) == expected


def test_the_alphabet_is_whole() -> None:
    """The standard's 128 positions, less the escape, and ten of the extension table."""
    assert len(set(BASIC)) == 127
    for character in BASIC:
        assert count(character) == (GSM_7, 1, 1)
    for character in EXTENDED:
        assert count(character) == (GSM_7, 2, 1)
    in_gsm = [chr(code) for code in range(0x10000) if count(chr(code)).encoding == GSM_7]
    assert set(in_gsm) == set(BASIC + EXTENDED)


def test_foreign_characters_are_named_once_in_order() -> None:
    assert foreign("It\u2019s \u201cnew\u201d, isn\u2019t it") == "\u2019\u201c\u201d"
    assert foreign("plain {text} €5") == ""


def _cut(text: str) -> list[str]:
    """Greedy cutting by hand, character by character: the definition in its plainest form."""
    encoding = count(text).encoding
    size, single = (153, 160) if encoding == GSM_7 else (67, 70)

    def width(part: str) -> int:
        if encoding == GSM_7:
            return sum(2 if character in EXTENDED else 1 for character in part)
        return len(part.encode("utf-16-le")) // 2

    if width(text) <= single:
        return [text] if text else []
    parts = [""]
    for character in text:
        if width(parts[-1] + character) > size:
            parts.append("")
        parts[-1] += character
    return parts


@given(st.text(st.sampled_from("ab€^é"), max_size=400) | st.text(max_size=200) | st.text(st.sampled_from("aж" + EMOJI)))
def test_agrees_with_cutting_by_hand(text: str) -> None:
    found = count(text)
    assert found.parts == len(_cut(text))
    if found.encoding == UCS_2 and text.isprintable():
        assert found.units == len(text.encode("utf-16-le")) // 2


@given(st.text(st.sampled_from("a€\U0001f600ж"), max_size=300), st.sampled_from("a€\U0001f600ж"))
def test_more_text_never_takes_fewer_parts(text: str, more: str) -> None:
    assert count(text + more).parts >= count(text).parts
