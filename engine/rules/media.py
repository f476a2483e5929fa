"""What of an MMS we keep and serve: how large, of which kinds, and when we ask the carrier again."""

RETRIES_S = (5, 15, 60, 300, 900, 3_600, 3_600 * 4, 3_600 * 12)  # after the last it is given up: about a day

_FAMILIES = ("image/", "audio/", "video/")
_OTHERS = frozenset(
    ("application/pdf", "application/ogg", "text/plain", "text/vcard", "text/x-vcard", "text/directory")
)
_REFUSED = frozenset(("image/svg+xml",))  # runs scripts in a browser
_SAYS_NOTHING = frozenset(("", "application/octet-stream", "binary/octet-stream"))


def kind(answered: str, announced: str) -> str | None:
    """The content type to keep, without parameters; None when it is none that we serve.

    `answered` came with the file, `announced` with the message; the file's own word counts unless it says nothing.
    """
    own, told = _bare(answered), _bare(announced)
    chosen = told if own in _SAYS_NOTHING else own
    is_served = chosen in _OTHERS or (chosen.startswith(_FAMILIES) and chosen not in _REFUSED)
    return chosen if is_served and chosen.isascii() and chosen.isprintable() else None


def retry_after_s(tries: int) -> int | None:
    """When to ask again after the `tries`-th failure; None: never."""
    return RETRIES_S[tries - 1] if tries <= len(RETRIES_S) else None


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()[:100]
