"""Every error that crosses a module boundary, drawn as one tree.

    CarillonError
    ├── InvalidInput          the caller can mend it            → HTTP 400, names the fields
    ├── Unauthorized          no valid key                      → HTTP 401
    ├── Forbidden             a valid key without the scope     → HTTP 403
    ├── NotFound              absent, or another tenant's       → HTTP 404
    ├── Conflict              wrong state, or key reused        → HTTP 409
    ├── TooSlow               a body that hardly comes          → HTTP 408
    ├── TooLarge              a body or a line over its limit   → HTTP 413
    ├── RateLimited           over the key's rate               → HTTP 429, says when to return
    ├── Misconfigured         the operator can mend it          → process exits, says the remedy
    └── Unavailable           a server we need is away          → HTTP 503, retry

"Later", "skip" and "cancel" are values that rules return, never exceptions. What a carrier can answer is a closed set
of its own in `engine.carriers.port`.
"""

from collections.abc import Mapping
from itertools import islice

MOST_FIELDS = 100  # in one answer: a hundred thousand wrong names are not worth ten megabytes of ours


class CarillonError(Exception):
    """Base of the tree. `message` is safe to show to a client: it holds no secret and no stack. Of `fields` the first
    `MOST_FIELDS` are kept."""

    code = "internal_error"
    status = 500

    def __init__(self, message: str, fields: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, object] = dict(islice((fields or {}).items(), MOST_FIELDS))


class InvalidInput(CarillonError):
    code, status = "validation_error", 400


class ContentRejected(CarillonError):
    """A text that the content scan blocks. `fields["rules"]` names the rules."""

    code, status = "content_rejected", 422


class Unauthorized(CarillonError):
    code, status = "unauthorized", 401


class Forbidden(CarillonError):
    code, status = "forbidden", 403


class NotFound(CarillonError):
    code, status = "not_found", 404


class Conflict(CarillonError):
    code, status = "conflict", 409


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"


class TooSlow(CarillonError):
    code, status = "request_timeout", 408


class TooLarge(CarillonError):
    code, status = "too_large", 413


class RateLimited(CarillonError):
    code, status = "rate_limited", 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Misconfigured(CarillonError):
    code, status = "misconfigured", 500


class Unavailable(CarillonError):
    code, status = "unavailable", 503
