"""Texts with data in them: what is said, what is missing, what cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.campaign_config import SmsMode, parse_mode
from engine.rules.template import LONGEST_VALUE, Field, clean, column, hold_reason, parse, values_of


@pytest.mark.parametrize(
    ("text", "data", "said"),
    [
        ("Hi {{first_name|there}}, hello", {"first_name": "Ann"}, "Hi Ann, hello"),
        ("Hi {{first_name|there}}, hello", {}, "Hi there, hello"),
        ("Hi {{first_name|there}}, hello", {"first_name": "  "}, "Hi there, hello"),
        ("Hi {{ First Name | dear customer }}!", {"FIRST-NAME": "Bob"}, "Hi Bob!"),
        ("{{a}}{{b|}}{{a}}", {"a": "1"}, "11"),
        ("Due: {{amount}} USD", {"amount": 12.5}, "Due: 12.5 USD"),
        ("plain", {"x": "y"}, "plain"),
        ("one { brace } stays", None, "one { brace } stays"),
        ("{{name}}", {"name": "{{phone}}"}, "{{phone}}"),  # a value is never read as a field
        ("{{name}}", {"name": "a\nb\x00c\u202ed"}, "a b c d"),
        ("{{n|x}}", {"n": ["list"]}, "x"),
        ("{{n|x}}", {"n": True}, "x"),
    ],
)
def test_what_is_said(text: str, data: dict[str, object] | None, said: str) -> None:
    found = parse(text)
    values = values_of(data)
    assert found.missing(values) == ()
    assert found.render(values) == said


def test_a_needed_value_that_is_missing_is_named_once() -> None:
    found = parse("{{b}} {{a|x}} {{ B }} {{c}}")
    assert found.needs == ("b", "c")
    assert found.missing(values_of({"c": "", "a": "1"})) == ("b", "c")
    assert found.missing({"b": "1"}) == ("c",)
    assert hold_reason(("b", "c")) == "missing_value: b, c"
    assert found.fields[0] == Field("b", None)
    assert found.sample() == "B x B C"
    assert parse("{{ x | upper | y }}").fields == (Field("x", "upper | y"),)  # a default may hold a bar


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hi {{}}", "{{}}"),
        ("Hi {{ }}", "{{ }}"),
        ("Hi {{first_name", "{{first_name"),
        ("Hi first_name}} you", "}} you"),
        ("Hi {{1st}}", "{{1st}}"),
        ("Hi {{a.b()}}", "{{a.b()}}"),
        ("{{#each}}", "{{#each}}"),
        ("{{a{b}}}", "{{a{b}}}"),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, shown: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert shown[:20] in str(caught.value.fields["message"])


def test_a_campaign_with_an_unreadable_text_is_refused_at_its_field() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_mode("sms", {"message": "Hi {{first_name"})
    assert list(caught.value.fields) == ["mode.message"]
    mode = parse_mode("sms", {"message": "Hi {{first_name|there}}"})
    assert isinstance(mode, SmsMode)
    assert mode.template.render({}) == "Hi there"


@pytest.mark.parametrize(
    ("name", "same"),
    [("First Name", "first_name"), (" first-name ", "first_name"), ("FIRST__NAME!", "first_name"), ("é", "")],
)
def test_names_are_compared_without_their_dress(name: str, same: str) -> None:
    assert column(name) == same


def test_of_two_columns_with_one_name_the_first_that_says_anything_counts() -> None:
    assert values_of({"Name": " ", "name": "Ann", "NAME": "Bob"}) == {"name": "Ann"}


@given(st.text(max_size=500))
def test_a_value_stays_on_one_line_and_bearable(value: str) -> None:
    cleaned = clean(value)
    assert len(cleaned) <= LONGEST_VALUE
    assert cleaned == cleaned.strip()
    assert not any(ord(character) < 32 or 0x202A <= ord(character) <= 0x202E for character in cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(alphabet=st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=80))
def test_a_text_without_braces_is_said_as_it_is(text: str) -> None:
    assert parse(text).render({}) == text
