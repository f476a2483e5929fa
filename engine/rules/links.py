"""Links in a text as a phone would make them clickable, and what is disguised about them."""

import ipaddress
import re
import unicodedata
from collections.abc import Collection
from typing import NamedTuple

# With a scheme, or a bare host with a path or a well-known ending: phones make links of both.
_LINK = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]{1,20})://)(?P<after>[^\s<>\"]+)"
    r"|(?<![\w@.])(?P<bare>(?:[\w-]+\.)+(?:[a-z]{2,24}|xn--[a-z0-9-]{2,59})(?::\d+)?(?:/[^\s<>\"]*|(?![\w.@-])))",
    re.IGNORECASE,
)
# Bare words with a dot that are hosts: `Hi.Call me` has none of these endings, `bit.ly/x` has a path.
_ENDING = re.compile(
    "ai|app|au|biz|br|ca|cc|cn|co|com|de|dev|edu|es|eu|fr|gd|gg|gov|in|info|io|it|jp|ly|me|mil|mobi|net|nl|online|org"
    "|pl|ru|sh|shop|site|store|to|top|tv|uk|us|vip|xyz"
)
_TRAILING = ".,;:!?)]}'’”"


class Link(NamedTuple):
    text: str  # as written, cut to 60 characters
    host: str  # lower case, without port
    disguise: str  # what hides where it leads; empty: nothing


def find(text: str) -> tuple[Link, ...]:
    """The links of a text, in order."""
    return tuple(link for match in _LINK.finditer(text) if (link := _read(match)) is not None)


def is_within(host: str, domains: Collection[str]) -> bool:
    """Whether a host is one of the domains or below one. All are in lower case."""
    while host:
        if host in domains:
            return True
        host = host.partition(".")[2]
    return False


def _read(match: re.Match[str]) -> Link | None:
    written = match[0].rstrip(_TRAILING)
    scheme = (match["scheme"] or "").lower()
    rest = written.partition("://")[2] if scheme else written
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    user, at, place = authority.rpartition("@")
    host = place.partition(":")[0].rstrip(".").lower()
    if not host or (not scheme and not _is_host(host, has_path="/" in rest)):
        return None
    return Link(written[:60], host, _disguise(scheme, bool(at) or bool(user), host))


def _is_host(host: str, *, has_path: bool) -> bool:
    ending = host.rpartition(".")[2]
    return bool(_ENDING.fullmatch(ending)) or (has_path and ending.isalpha()) or ending.startswith("xn--")


def _disguise(scheme: str, has_user: bool, host: str) -> str:
    if scheme not in ("", "http", "https"):
        return f"{scheme}: is no scheme of a web page"
    if has_user:
        return "what stands before the @ is not where it leads"
    if _is_address(host):
        return "a bare IP address says nothing of who answers there"
    if any(label.startswith("xn--") for label in host.split(".")) or len(_scripts(host)) > 1:
        return "letters of several alphabets, or punycode, may imitate another name"
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.isdigit() or host.startswith("0x")
    return True


def _scripts(host: str) -> set[str]:
    return {unicodedata.name(letter, "?").partition(" ")[0] for letter in host if letter.isalpha()}
