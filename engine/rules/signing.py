"""Signatures of webhooks, as the Standard Webhooks specification has them (https://www.standardwebhooks.com, v1).

Signed is `<id>.<timestamp>.<body>` with HMAC-SHA256 under the bytes of the secret; `whsec_` and base64 are only how the
secret is written down.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
SECRET_BYTES = 32  # the specification asks for 24 to 64


def write_secret(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()


def signature(secrets: Iterable[str], message_id: str, timestamp_s: int, body: bytes) -> str:
    """The header `webhook-signature`: one `v1,<base64>` per secret, so that a receiver with either of them verifies.

    Raises ValueError for a secret that `write_secret` did not write.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return " ".join(f"v1,{base64.b64encode(_mac(secret, signed)).decode()}" for secret in secrets)


def _mac(secret: str, signed: bytes) -> bytes:
    if not secret.startswith(PREFIX):
        raise ValueError("a webhook's secret begins with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a webhook's secret is base64 behind whsec_") from None
    return hmac.digest(key, signed, hashlib.sha256)
