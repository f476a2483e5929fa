"""Words in answers: the keywords of every list in every dress, free text, and what only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.opt_out import HELP_WORDS, OPT_IN_WORDS, OPT_OUT_WORDS, Meaning, read

KEYWORDS = [
    # FCC, per se
    "stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe",
    # Twilio, Telnyx, AWS
    "STOPALL", "stop all", "OPTOUT", "OPT-OUT", "REMOVE", "TD", "ARRET", "Arrêt",
    # the same in other dress
    "STOP.", " stop ", "Stop!!!", '"STOP"', "“stop”", "s t o p", "S.T.O.P.", "stop\n", "*stop*", "STOP 🛑", "sTOp",
    "ＳＴＯＰ", "𝐒𝐓𝐎𝐏", "st\u200bop", "\u00a0STOP\u2009", "stop\u0000", "(stop)", "[STOP]", "stop stop STOP",
    "please stop", "Stop please!", "Pls STOP thx", "stop, thank you", "Reply STOP", "text stop", "ok, stop now",
    "end!", "unsubscribe please", "r-e-v-o-k-e",
]  # fmt: skip

FREE_TEXT = [
    "please opt me out",  # CTIA 5.1.3
    "please stop texting me",
    "Stop texting me!!",
    "stop messaging this number",
    "STOP CALLING ME",
    "please stop all messages",
    "stop sending me these texts",
    "stop sending me this",
    "Would you stop contacting us",
    "can you please stop",
    "Stop. I don't want this.",
    "Who is this? Stop.",
    "STOP!!! I'm at work",
    "i said stop",
    "I told you to stop texting me",
    "if you don't stop texting me I will call a lawyer",
    "why don't you stop texting me",
    "quit texting me",
    "no more texts please",
    "no more messages",
    "don't text me",
    "Don’t text me again",
    "do not contact me again",
    "Do not ever call me",
    "never text this number again",
    "dont call me at this number again",
    "don't message us anymore",
    "please don't send me any more texts",
    "take me off your list",
    "Please take me off of this list",
    "take me off the mailing list thanks",
    "remove me",
    "Remove me please",
    "remove me from your list",
    "remove my number",
    "delete my number from your system",
    "lose my number",
    "get me off this list",
    "unsubscribe me please",
    "how do I unsubscribe?",
    "I want to opt out",
    "I would like to opt-out of these",
    "leave me alone",
    "leave me the hell alone",
    "fuck off",
    "I revoke my consent",
    "I hereby withdraw my consent to be contacted",
    "put me on your do not call list",
    "I'm on the Do Not Call list",
    "I don't want to receive these messages",
    "I do not want any more texts",
    "I don't want your texts",
    "i no longer wish to be contacted",
    "I don't want to hear from you",
    "cease and desist",
    "cancel these messages",
    "end these texts",
    "make it stop",
]

ORDINARY = [
    "",
    " ",
    "Hello",
    "👍",
    "Yes",
    "YES",
    "no",
    "Yes, I'll be there.",
    "I can't stop thinking about it",
    "stop by tomorrow",
    "I'll stop by the store",
    "Next stop is the airport",
    "the end of the month works",
    "end of day is fine",
    "In the end we bought it",
    "cancel my 3pm appointment",
    "Please cancel my order",
    "I need to cancel. Can we do Friday?",
    "I quit smoking last year",
    "Can you remove the fee?",
    "removed the dog from the picture",
    "don't stop texting me",
    "please don't stop the reminders",
    "never stop texting me",
    "why did you stop texting me?",
    "did you stop calling?",
    "I don't want to unsubscribe",
    "please don't unsubscribe me",
    "Don't take me off the list",
    "don't leave me alone here",
    "you never text me",
    "you don't call me anymore",
    "they don't text me",
    "don't call me before 5",
    "Don't call me today, I am busy",
    "dont call me yet",
    "don't call me, text me instead",
    "don't text and drive",
    "call me tomorrow",
    "Not interested",
    "wrong number",
    "No thanks",
    "It took me off guard",
    "stopped by, nobody there",
    "unstoppable",
    "ending soon?",
    "td bank is closed",
    "I am not going to stop",
    "help me find the address",
    "can I start tomorrow?",
    "more info about prices",
    "Does the bus stop here? We will see.",
]


@pytest.mark.parametrize("text", KEYWORDS)
def test_a_keyword_opts_out_in_any_dress(text: str) -> None:
    reading = read(text)
    assert reading.meaning is Meaning.OPT_OUT, text
    assert reading.is_keyword
    assert reading.words in OPT_OUT_WORDS


@pytest.mark.parametrize("text", FREE_TEXT)
def test_words_that_a_reasonable_person_reads_as_a_revocation(text: str) -> None:
    reading = read(text)
    assert (reading.meaning, reading.is_keyword) == (Meaning.OPT_OUT, False)
    assert reading.words


@pytest.mark.parametrize("text", ORDINARY)
def test_words_that_are_about_something_else(text: str) -> None:
    assert read(text) == (Meaning.NONE, "", False)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("START", Meaning.OPT_IN),
        ("unstop", Meaning.OPT_IN),
        ("Start please", Meaning.OPT_IN),
        ("HELP", Meaning.HELP),
        ("help!", Meaning.HELP),
        ("Info", Meaning.HELP),
        ("start stop", Meaning.NONE),  # neither: a person who cannot decide is asked nothing
    ],
)
def test_the_other_keywords(text: str, meaning: Meaning) -> None:
    assert read(text).meaning is meaning


def test_no_word_is_in_two_lists() -> None:
    assert not OPT_OUT_WORDS & OPT_IN_WORDS
    assert not (OPT_OUT_WORDS | OPT_IN_WORDS) & HELP_WORDS


_SEPARATORS = st.text(" .,!?-_*\"'()\u00a0\u2002\u200b\u3000\n’“", max_size=4)


@given(st.data(), st.sampled_from(sorted(OPT_OUT_WORDS)))
def test_case_punctuation_and_spacing_never_matter(data: st.DataObject, word: str) -> None:
    letters = [data.draw(st.sampled_from([letter, letter.upper()])) for letter in word]
    dressed = data.draw(_SEPARATORS) + "".join(letter + data.draw(_SEPARATORS) for letter in letters)
    assert read(dressed) == (Meaning.OPT_OUT, word, True)


_INNOCENT = (
    "the",
    "meeting",
    "works",
    "great",
    "tomorrow",
    "at",
    "noon",
    "see",
    "there",
    "can",
    "bring",
    "order",
    "blue",
)


@given(st.lists(st.sampled_from(_INNOCENT), max_size=40).map(" ".join))
def test_ordinary_words_never_opt_out(text: str) -> None:
    assert read(text).meaning is Meaning.NONE


@given(st.text(max_size=300))
def test_any_text_has_one_meaning(text: str) -> None:
    reading = read(text)
    assert read(text) == reading
    assert bool(reading.words) == (reading.meaning is not Meaning.NONE)


def test_a_long_text_costs_no_time() -> None:
    for text in ("stop the " * 5_000, "dont " * 5_000, "please stop you " * 5_000, "a" * 100_000):
        read(text)
