"""The short-lived token with which an agent tells a real carrier stream from a forged one.

`<ref>.<expiry as decimal epoch seconds>.<hex HMAC-SHA256 of "ref.expiry">`: bound to one attempt, no state.
"""

import hashlib
import hmac


def sign(secret: str, ref: str, expires_s: float, now_s: float) -> str:
    """A token for `ref`, valid for `expires_s` real seconds from `now_s` (epoch)."""
    claim = f"{ref}.{int(now_s + expires_s)}"
    return f"{claim}.{_mac(secret, claim)}"


def verify(secret: str, token: str, ref: str, now_s: float) -> bool:
    """Is it ours, for this ref, and not expired?"""
    claim, _, mac = token.rpartition(".")
    token_ref, _, expiry = claim.rpartition(".")
    if not hmac.compare_digest(mac.encode(), _mac(secret, claim).encode()):
        return False
    return token_ref == ref and int(expiry) >= now_s


def _mac(secret: str, claim: str) -> str:
    return hmac.new(secret.encode(), claim.encode(), hashlib.sha256).hexdigest()
