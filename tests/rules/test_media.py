"""Which files of an MMS are kept, and when the carrier is asked again."""

import pytest

from engine.rules.media import RETRIES_S, kind, retry_after_s


@pytest.mark.parametrize(
    ("answered", "announced", "kept"),
    [
        ("image/png", "image/png", "image/png"),
        ("IMAGE/JPEG; charset=binary", "image/png", "image/jpeg"),  # the file's own word counts
        ("", "video/mp4", "video/mp4"),
        ("application/octet-stream", "audio/amr", "audio/amr"),
        ("binary/octet-stream", "text/x-vcard", "text/x-vcard"),
        ("application/pdf", "", "application/pdf"),
        ("text/html", "image/png", None),  # an error page, or worse
        ("text/html; charset=utf-8", "", None),
        ("image/svg+xml", "image/png", None),
        ("application/x-msdownload", "image/png", None),
        ("application/octet-stream", "application/octet-stream", None),
        ("", "", None),
        ("image/\r\nx: y", "image/png", None),
        ("image/pñg", "", None),
    ],
)
def test_kinds(answered: str, announced: str, kept: str | None) -> None:
    assert kind(answered, announced) == kept


def test_retries_end() -> None:
    waits = [retry_after_s(tries) for tries in range(1, len(RETRIES_S) + 2)]
    assert waits == [*RETRIES_S, None]
    assert 12 * 3_600 < sum(RETRIES_S) < 36 * 3_600
