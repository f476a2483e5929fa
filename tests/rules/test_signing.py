"""Signatures, against the specification's own example and a verifier that is not ours."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from engine.rules.signing import signature, write_secret

# The worked example of the specification's reference implementations.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_known_example() -> None:
    assert signature([SECRET], ID, AT, BODY) == SIGNATURE


def test_one_signature_per_secret_the_newest_first() -> None:
    other = write_secret(b"x" * 32)
    assert signature([SECRET, other], ID, AT, BODY).split(" ") == [SIGNATURE, signature([other], ID, AT, BODY)]


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(codec="utf-8")))
def test_another_implementation_agrees(key: bytes, body: str) -> None:
    secret = write_secret(key)
    at = datetime(2026, 3, 11, tzinfo=UTC)
    assert Webhook(secret).sign("evt_1", at, body) == signature([secret], "evt_1", int(at.timestamp()), body.encode())


@pytest.mark.parametrize("secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", "whsec_abc"])
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="a webhook's secret"):
        signature([secret], ID, AT, BODY)
