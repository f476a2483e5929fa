"""What may be written in a text: a scan by rules that each have a name, a level and a reason in words.

Carriers filter by content and fine its sender; a text that they would refuse is better refused here, with its reason.
The text is read as a person reads it (compatibility forms, look-alike letters and digits for letters undone, invisible
characters dropped) and sent as it was written. Levels differ between test and live keys where a rule is about
registration rather than harm, and an account may set its own. Sources: COMPLIANCE 3 and 7; `data/content.json` names
its own date.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

import orjson

from engine.errors import ContentRejected
from engine.rules import links, segments

MOST_PARTS = 10  # most carriers take no longer text
FEW_EMOJI = 3


class Level(IntEnum):
    ALLOW = 0
    WARN = 1
    BLOCK = 2

    @property
    def label(self) -> str:
        return self.name.lower()


A, W, B = Level.ALLOW, Level.WARN, Level.BLOCK

# Rule → level for test keys, for live keys, and for one-off texts of live keys. `prohibited.…` is one per category.
DEFAULTS: dict[str, tuple[Level, Level, Level]] = {
    "prohibited": (B, B, B),
    "link.shortener": (B, B, B),  # AT&T refuses them; CTIA 5.3.2 wants a domain of the sender's own
    "link.disguised": (B, B, B),
    "link.foreign": (W, W, W),  # outside the account's `domains`, where it names any
    "link.many": (W, W, W),
    "phishing.credentials": (B, B, B),
    "brand.unknown": (W, W, W),  # the account names no brand, so nobody can tell
    "brand.missing": (W, B, W),  # a one-off text may be part of a conversation
    "optout.missing": (W, B, W),
    "optout.exclusive": (B, B, B),  # 47 CFR 64.1200(a)(10): any reasonable means, no exclusive one
    "placeholder.unfilled": (B, B, B),
    "parts.many": (W, B, B),
    "encoding.unicode": (W, W, W),
    "style.pressure": (W, W, W),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """How an account wants texts judged. `levels` holds only what it set itself."""

    is_live: bool = False
    is_one_off: bool = False
    brands: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()  # in lower case
    levels: tuple[tuple[str, Level], ...] = ()

    def level(self, rule: str) -> Level:
        """Of the rule itself, else of what its name begins with, else the default."""
        own = dict(self.levels)
        group = rule.partition(".")[0]
        found = own.get(rule, own.get(group))
        if found is not None:
            return found
        defaults = DEFAULTS[rule if rule in DEFAULTS else group]
        return defaults[0 if not self.is_live else 2 if self.is_one_off else 1]


DEFAULT_POLICY = Policy()


class Finding(NamedTuple):
    rule: str
    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The verdict is that of the gravest finding; findings of level `allow` are left out."""

    verdict: Level
    findings: tuple[Finding, ...]
    version: str  # of the rule data

    @property
    def blocking(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level is Level.BLOCK)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level is Level.WARN)


def policy_of(settings: object, *, is_live: bool, is_one_off: bool = False) -> Policy:
    """An account's `settings["content"]`: `{"rules": {"prohibited.alcohol": "allow"}, "brands": […], "domains": […]}`.

    What cannot be read there loosens nothing: it is ignored.
    """
    given: Mapping[str, object] = settings if isinstance(settings, Mapping) else {}
    rules = given.get("rules")
    levels = {
        str(rule): Level[level.upper()]
        for rule, level in (rules.items() if isinstance(rules, Mapping) else ())
        if isinstance(level, str) and level.upper() in Level.__members__
    }
    domains = tuple(domain.lower() for domain in _texts(given.get("domains")))
    return Policy(is_live, is_one_off, _texts(given.get("brands")), domains, tuple(sorted(levels.items())))


@lru_cache(maxsize=4096)
def scan(text: str, policy: Policy) -> Scan:
    """Judges a text as it would be sent. Remembered, because a campaign's text is judged again at each contact."""
    found = [
        Finding(rule, level, reason)
        for rule, reason in _suspicions(text, policy)
        if (level := policy.level(rule)) is not Level.ALLOW
    ]
    verdict = max((finding.level for finding in found), default=Level.ALLOW)
    return Scan(verdict, tuple(sorted(found, key=lambda finding: -finding.level)), version())


def raise_if_blocked(found: Scan, field: str) -> None:
    """Raises ContentRejected whose `fields["rules"]` names the blocking rules; `field` is what held the text."""
    if not found.blocking:
        return
    reasons = "; ".join(finding.reason for finding in found.blocking)
    rules = list(dict.fromkeys(finding.rule for finding in found.blocking))
    raise ContentRejected(f"{field}: {reasons}", {field: reasons, "rules": rules, "rules_version": found.version})


def version() -> str:
    """Of the rule data."""
    return _data().version


def _suspicions(text: str, policy: Policy) -> Iterator[tuple[str, str]]:
    readings = _readings(text)
    phrases = _phrases(readings)
    found = links.find(text)
    yield from _prohibited(phrases)
    yield from _links(found, policy)
    yield from _wording(text, readings, phrases, has_link=bool(found))
    yield from _sender(readings, phrases, policy)
    yield from _form(text)


def _prohibited(phrases: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for category in _data().prohibited:
        if phrase := phrases.get(category):
            yield f"prohibited.{category}", f"'{phrase}': carriers refuse texts about this ({category})"


def _links(found: tuple[links.Link, ...], policy: Policy) -> Iterator[tuple[str, str]]:
    for link in found:
        if link.disguise:
            yield "link.disguised", f"{link.text}: {link.disguise}"
        if links.is_within(link.host, _data().shorteners):
            yield "link.shortener", f"{link.host} is a public link shortener; use a domain of your own"
        elif policy.domains and not links.is_within(link.host, policy.domains):
            yield "link.foreign", f"{link.host} is not one of your account's domains"
    if len(found) > 1:
        yield "link.many", f"{len(found)} links in one text"


def _wording(
    text: str, readings: tuple[str, ...], phrases: Mapping[str, str], *, has_link: bool
) -> Iterator[tuple[str, str]]:
    urgent, secret = phrases.get("urgency"), phrases.get("credentials")
    if has_link and urgent and secret:
        yield "phishing.credentials", f"a link with '{urgent}' and '{secret}' has the shape of phishing"
    if match := _EXCLUSIVE.search(readings[0]):
        yield "optout.exclusive", f"'{match[0].strip()}': anybody may opt out in any words; say “Reply STOP to opt out”"
    if match := _PLACEHOLDER.search(text):
        yield "placeholder.unfilled", f"'{match[0]}' was never filled in; a field is written {{{{name|default}}}}"
    if style := _style(text, phrases):
        yield "style.pressure", f"{style} looks like spam to filters"


def _sender(readings: tuple[str, ...], phrases: Mapping[str, str], policy: Policy) -> Iterator[tuple[str, str]]:
    if not policy.brands:
        yield "brand.unknown", "the account names no brand, so whether the text names its sender is not known"
    elif not any(_read(brand) in reading for brand in policy.brands for reading in readings):
        yield "brand.missing", f"does not say who sends it: {' or '.join(policy.brands)}"
    if "opt_out" not in phrases:
        yield "optout.missing", "does not say how to opt out, such as “Reply STOP to opt out”"


def _form(text: str) -> Iterator[tuple[str, str]]:
    size = segments.count(text)
    if size.parts > MOST_PARTS:
        yield "parts.many", f"takes {size.parts} parts in {size.encoding}; most carriers take {MOST_PARTS}"
    if size.encoding == segments.UCS_2 and size.parts > segments.count(_in_gsm(text)).parts:
        yield "encoding.unicode", f"'{segments.foreign(text)[:20]}' make it {size.parts} parts instead of fewer"


def _in_gsm(text: str) -> str:
    strange = segments.foreign(text)
    return text.translate({ord(character): "." for character in strange})


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Cyrillic and Greek letters that look like Latin ones: a hand-picked part of Unicode's confusables.
_LOOK_ALIKES = str.maketrans("авсԁеёһіїјкӏморԛѕтхуαβεηικνορτυχω", "abcdeehiijklmopqstxyabenikvoptuxw")
_LEET = str.maketrans("013457@$!", "oieastasi")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
_SPACING = re.compile(r"[\W_]+")
_LEET_WORD = re.compile(r"\S*[a-z]\S*")
_EXCLUSIVE = re.compile(
    r" only (?:way|means) to (?:opt out|stop|unsubscribe) "
    r"| (?:reply|text|send) (?!stop|quit|end|revoke|cancel|unsub|opt)\w+ to (?:stop|opt out|unsubscribe) "
)
_PLACEHOLDER = re.compile(r"\{\{?[^{}\n]{0,60}\}?\}|\[\[[^\]\n]{1,60}\]\]|%(?:first|last|full)_?name%", re.IGNORECASE)
_SHOUTED = re.compile(r"\b[A-Z]{4,}(?:[ ,]+[A-Z]{2,}){2,}")
_GROUPS = ("urgency", "credentials", "pressure", "opt_out")  # of phrases, beside the prohibited categories
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def _readings(text: str) -> tuple[str, ...]:
    """The text as it reads, and once more with digits and signs read as the letters that they stand for."""
    folded = _fold(text)
    leet = _LEET_WORD.sub(lambda match: match[0].translate(_LEET), folded)
    return tuple(dict.fromkeys((_spaced(folded), _spaced(leet))))


def _fold(text: str) -> str:
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower().translate(_LOOK_ALIKES)


def _spaced(text: str) -> str:
    """Words between single blanks, a blank on either end: a phrase is found by `in`, edges and all."""
    return f" {_SPACING.sub(' ', text).strip()} "


def _read(words: str) -> str:
    return _spaced(_fold(words))


def _style(text: str, phrases: Mapping[str, str]) -> str:
    if phrase := phrases.get("pressure"):
        return f"'{phrase}'"
    if "!!!" in text:
        return "'!!!'"
    if match := _SHOUTED.search(text):
        return f"'{match[0][:40]}' in capitals"
    return f"{FEW_EMOJI} or more emoji" if len(_EMOJI.findall(text)) >= FEW_EMOJI else ""


def _phrases(readings: tuple[str, ...]) -> dict[str, str]:
    """The first phrase of each group that a reading holds. One pass over its words: as patterns they took longer than
    all else together."""
    found: dict[str, str] = {}
    begins = _data().begins
    for reading in readings:
        words = reading.split()
        for at, word in enumerate(words):
            for group, phrase in begins.get(word, ()):
                if words[at : at + len(phrase)] == phrase:
                    found.setdefault(group, " ".join(phrase))
    return found


class _Data(NamedTuple):
    version: str
    prohibited: tuple[str, ...]  # the groups of phrases that are categories of these
    begins: dict[str, list[tuple[str, list[str]]]]  # word → the groups and words of the phrases that begin with it
    shorteners: frozenset[str]


@cache
def _data() -> _Data:
    given: dict[str, Any] = orjson.loads(resources.files("engine.rules.data").joinpath("content.json").read_bytes())
    return _Data(
        given["version"],
        tuple(given["phrases"]),
        _begins(given["phrases"] | {group: given[group] for group in _GROUPS}),
        frozenset(given["shorteners"]),
    )


def _begins(groups: Mapping[str, list[str]]) -> dict[str, list[tuple[str, list[str]]]]:
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for group, phrases in groups.items():
        for words in map(str.split, map(_spaced, phrases)):
            found.setdefault(words[0], []).append((group, words))
    return found


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str) and each) if isinstance(value, list) else ()
