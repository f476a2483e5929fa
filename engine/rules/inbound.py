"""What we say to people who write or call: one answer per trigger, in the account's own words or in ours.

The confirmation of an opt-out is one text without marketing, sent at once (47 CFR 64.1200(a)(12)); HELP and STOP are
answered for everybody, subscriber or not (CTIA 5.1.3).
"""

from collections.abc import Mapping

from engine.rules.opt_out import Meaning

HELP_GAP_S = 60  # real; a person gets at most one help text in so long: two machines must not talk for ever
CALL = "call"  # the name, among the account's replies, of what a caller hears
LONGEST = 1_600

_NAMES = {Meaning.OPT_OUT: "optOut", Meaning.OPT_IN: "optIn", Meaning.HELP: "help"}
_DEFAULTS = {
    "optOut": "{brand}: you have opted out and will get no more messages or calls.",
    "optIn": "{brand}: you are subscribed again. Msg & data rates may apply. Reply HELP for help, STOP to opt out.",
    "help": "{brand}: you get messages from us at {number}. Reply STOP to get no more. Msg & data rates may apply.",
    CALL: "Thank you for calling {brand}. Nobody can take calls at this number. Goodbye.",
}


def reply(meaning: Meaning, settings: Mapping[str, object], name: str, number: str) -> str:
    """The text that answers a keyword. `settings` are the account's, `name` is its name, `number` ours.

    Raises KeyError for a meaning that has no answer.
    """
    return _words(_NAMES[meaning], settings, name, number)


def greeting(settings: Mapping[str, object], name: str, number: str) -> str:
    """What a caller hears before the call is ended."""
    return _words(CALL, settings, name, number)


def _words(kind: str, settings: Mapping[str, object], name: str, number: str) -> str:
    own = settings.get("replies")
    template = own.get(kind) if isinstance(own, Mapping) else None
    if not isinstance(template, str) or not template.strip() or len(template) > LONGEST:
        template = _DEFAULTS[kind]
    return template.replace("{number}", number).replace("{brand}", _brand(settings) or name)


def _brand(settings: Mapping[str, object]) -> str:
    """The first of the account's brands, which its texts are scanned for too (`rules.content`)."""
    content = settings.get("content")
    brands = content.get("brands") if isinstance(content, Mapping) else None
    first = brands[0] if isinstance(brands, list) and brands else ""
    return first if isinstance(first, str) else ""
