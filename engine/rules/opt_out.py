"""What a person means who answers a text: leave me alone, contact me again, who are you, or something else.

Keywords are the whole message, politeness aside; case, accents, punctuation, spacing and Unicode's look-alikes do not
matter. They are the union of what the FCC names per se (47 CFR 64.1200(a)(10)), CTIA 5.1.3 and the carriers' defaults
(COMPLIANCE 3): a carrier that blocks a word that we do not know would leave our list wrong.

Other words count when a reasonable person would read them as a revocation (the same rule): phrases that ask for the
messages to end, in the order of the sentence, and not when they are denied ("don't stop texting me"), told of somebody
else, or only put off ("don't call me before five"). A bare "not interested" or "wrong number" is an answer, not a
revocation; CANCEL and END inside a sentence are about something else ("cancel my 3pm").

YES is no opt-in: as an answer to a question it is too common to lift anything.
"""

import re
import unicodedata
from enum import StrEnum
from typing import NamedTuple


class Meaning(StrEnum):
    NONE = ""
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"
    HELP = "help"


class Reading(NamedTuple):
    """`words` is the keyword, or the phrase that was found; `is_keyword` tells the two apart."""

    meaning: Meaning
    words: str = ""
    is_keyword: bool = False


OPT_OUT_WORDS = frozenset(
    ("stop", "stopall", "end", "quit", "cancel", "unsubscribe", "revoke", "optout", "remove", "arret", "td")
)
OPT_IN_WORDS = frozenset(("start", "unstop"))
HELP_WORDS = frozenset(("help", "info"))

_LONGEST = 5_000  # characters that are read; a text message has at most 1,600
_KEYWORDS = ((Meaning.OPT_OUT, OPT_OUT_WORDS), (Meaning.OPT_IN, OPT_IN_WORDS), (Meaning.HELP, HELP_WORDS))
_POLITE = frozenset(
    ("please", "pls", "plz", "kindly", "thanks", "thank", "you", "thx", "now", "immediately", "already", "ok", "okay")
) | {"hi", "hello", "hey", "just", "reply", "text"}
# Alone in a sentence these are plain whatever else the message says; END or CANCEL there may be about a date.
_PLAIN = frozenset(("stop", "stopall", "unsubscribe", "optout"))

_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼ`´"))
_SENTENCE = re.compile(r"[.!?;:,\n\r…—–]+")
_GAP = re.compile(r"[\W_]+")

_MESSAGES = "(?:texts?|text messages?|messages?|msgs?|sms|calls|spam|notifications|alerts|reminders|emails)"
_WRITING = "(?:texting|messaging|msging|calling|contacting|spamming|bothering|harassing|emailing|phoning|writing)"
_WRITE = "(?:text|txt|message|msg|call|contact|bother|harass|spam|email|phone|write)"
_DETERMINERS = "(?:(?:me|us|all|the|these|those|this|your|ur|any|more|stupid|of|damn|fucking) )*"
_ME = "(?:me|us|my number|my phone|my cell|this number|this phone)"
_LISTS = "(?:lists?|database|system|contacts|records|thing|campaigns?|texts?|messages?|this)"
_ITEM = rf"(?:{_ME}|my name|my info|my contact)"
_THE = "(?:(?:the|this|that|your|ur|all|any|these|mailing|call|calling|text|texting|contact|marketing) )*"
_WANT = "(?:want|wish|care|need)"
_RECEIVE = "(?:get|receive|be|getting|receiving|being|hear|hearing)"
_RECEIVED = rf"(?:{_MESSAGES}|texted|messaged|called|contacted|from (?:you|u|yall))"
_DEFERRED = (
    "(?:before|after|until|till|during|while|today|tonight|tomorrow|late|early|yet|now|at|on|if|when|unless|between)"
)

# Over words in lower case with single spaces; "do not" reads "dont".
_PHRASES = tuple(
    re.compile(rf"(?<!\S)(?:{phrase})(?!\S)")
    for phrase in (
        # stop …
        rf"(?:stop|quit|cease|discontinue) {_DETERMINERS}{_WRITING}",
        rf"(?:stop|quit|cease|discontinue|cancel|end|halt) (?:sending |with )?{_DETERMINERS}{_MESSAGES}",
        r"(?:stop|quit) sending (?:me |us )?(?:this|these|those|stuff|crap|shit)",
        r"(?:said|asked you to|told you to|asked to|told you|need you to|want you to|want this to) stop",
        r"cease and desist",
        # don't …
        rf"no more {_MESSAGES}",
        rf"(?:dont|never|no longer) (?:(?:ever|you ever|even|you dare) )*{_WRITE} {_ME}",
        rf"(?:dont|never) (?:ever )?send (?:me |us )?(?:any |more |these |this |another ){_DETERMINERS}{_MESSAGES}",
        rf"(?:dont|no longer) {_WANT}(?: to| any| your| these| this| more| further)* {_MESSAGES}",
        rf"(?:dont|no longer) {_WANT} (?:to )?{_RECEIVE} (?:\w+ ){{0,3}}?{_RECEIVED}",
        # off the list
        r"unsubscribe|unsub|opt (?:me |us )?out|opting out|optout",
        rf"(?:take|get|remove|delete|scrub) {_ITEM} (?:off|from|out)(?: of)? {_THE}{_LISTS}",
        r"(?:take|get) (?:me|us|my number) off(?: please)?$",
        r"remove (?:me|us)(?: please| now| immediately)*$",
        r"(?:remove|delete|lose|forget) (?:my|this) (?:number|phone|cell)",
        r"(?:dont|no) (?:call|contact|text) list|dnc list",
        r"(?:put|add|place) (?:me|us|my number) (?:on|to) (?:your |the )?dnc",
        # other ways to say it
        r"leave (?:me|us) (?:the \w+ )?alone|(?:fuck|piss|f|buzz) off",
        r"(?:revoke|withdraw|withdrawing|revoking) (?:my |all |any )*consent",
        r"consent (?:is )?(?:revoked|withdrawn)|(?:dont|no longer) consent",
    )
)
_JUST_STOP = re.compile(
    r"(?:(?:please|just|can|could|would|will|you|u|guys|need|to|must|for the love of god|omg|make|it|this|that|these)"
    r" )*stop(?: (?:it|this|that|these|now|already|immediately|please|thanks|ok|doing this|right now|asap))*"
)
_DENIED = re.compile(
    r"(?<!\S)(?:dont|not|never|cant|cannot|wont|didnt|couldnt|wouldnt|shouldnt|doesnt|isnt|arent|without)"
    r"(?: (?:(?:want|wish|need|mean|going) )?to| ever)?$"
)
# Before "don't call me" these make it a statement or a question about somebody: "you never text me".
_SUBJECTS = frozenset(("i", "we", "they", "you", "u", "he", "she", "who", "why", "people", "friends"))
_STATED = re.compile(rf"(?:dont|never|no longer) (?:\w+ )*?{_WRITE} ")
_TOLD = re.compile(r"(?:did|have|had|if|when|before|since|after|until) (?:you|u|they|we|i)$")
_THREAT = re.compile(r"if (?:you|u|they|yall) dont$")
_PUT_OFF = re.compile(rf"^ (?:back )?{_DEFERRED}(?!\S)")
_FOR_GOOD = re.compile(r"(?<!\S)(?:again|anymore|any more|ever|this number)(?!\S)")
_OTHER_WAY = re.compile(r"(?<!\S)(?:text|txt|message|email|call) (?:me|us)(?!\S)")


def read(text: str) -> Reading:
    """What one incoming text means. Never raises, whatever the text."""
    plain = _plain(text[:_LONGEST])
    words = _words(plain)
    for meaning, known in _KEYWORDS:
        if keyword := _keyword(words, known):
            return Reading(meaning, keyword, is_keyword=True)
    for sentence in _SENTENCE.split(plain):
        if phrase := _request(_words(sentence)):
            return Reading(Meaning.OPT_OUT, phrase)
    if phrase := _phrase(" ".join(words)):
        return Reading(Meaning.OPT_OUT, phrase)
    return Reading(Meaning.NONE)


def _plain(text: str) -> str:
    """Lower case without accents, apostrophes and invisible marks; full-width and styled letters as plain ones."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    return "".join(
        char for char in unicodedata.normalize("NFD", folded) if unicodedata.category(char) not in ("Mn", "Cf")
    )


def _words(plain: str) -> list[str]:
    spaced = f" {_GAP.sub(' ', plain).strip()} "
    return spaced.replace(" do not ", " dont ").replace(" can not ", " cant ").split()


def _keyword(words: list[str], known: frozenset[str]) -> str:
    """The keyword that the whole message is, however spaced ("S T O P", "opt out") and often ("stop stop")."""
    rest = [word for word in words if word not in _POLITE]
    for compact in ("".join(words), "".join(rest)):
        if compact in known:
            return compact
    return rest[0] if rest and known.issuperset(rest) else ""


def _request(words: list[str]) -> str:
    """A sentence that is nothing but the request to stop, in a message that says more."""
    if keyword := _keyword(words, _PLAIN):
        return keyword
    sentence = " ".join(words)
    return sentence if _JUST_STOP.fullmatch(sentence) else ""


def _phrase(message: str) -> str:
    return next(
        (
            found.group()
            for phrase in _PHRASES
            for found in phrase.finditer(message)
            if _is_meant(found.group(), message[: found.start()].rstrip(), message[found.end() :])
        ),
        "",
    )


def _is_meant(phrase: str, before: str, after: str) -> bool:
    """Is the phrase a request, and not its denial, a story, or a matter of time?"""
    if _STATED.match(f"{phrase} "):
        if before.rpartition(" ")[2] in _SUBJECTS:
            return False
        rest = f"{phrase}{after}"
        return _FOR_GOOD.search(rest) is not None or not (_PUT_OFF.match(after) or _OTHER_WAY.search(after))
    if _DENIED.search(before):
        return _THREAT.search(before) is not None
    return _TOLD.search(before) is None
