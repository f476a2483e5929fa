"""Everything that reads what strangers send, under hypothesis: see `targets` for what must hold."""

import string
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.carriers.port import Carrier
from tests.outside import targets
from tests.outside.amount import tries

SAMPLE = 150

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
cuts = st.lists(st.integers(0, 10_000), max_size=5)
regions = st.sampled_from(["US", "GB", "DE", "AR", "SG", "001", ""])

EVENT_TYPES = ["call.ringing", "call.answered", "call.hangup", "call.machine.detection.ended", "message.received",
               "message.finalized", "call.initiated", "x"]  # fmt: skip
odd = st.sampled_from(["", "\0", "9" * 5_000, "inf", "1e999", "-1", "2026-03-01T00:00:00+23:59", "0001-01-01", "é"])
word = odd | st.text(max_size=30)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "data": st.fixed_dictionaries(
            {},
            optional={
                "id": word | anything,
                "event_type": st.sampled_from(EVENT_TYPES) | word,
                "occurred_at": st.just("2026-03-01T10:00:00+00:00") | word | anything,
                "payload": st.fixed_dictionaries(
                    {},
                    optional={
                        "client_state": st.sampled_from(["MDU5cmN3YW1lcnYwai0wMDAwMDAwMDAwMDAxLTE=", "AAAA", "%"])
                        | word,
                        "call_control_id": word | anything,
                        "id": word,
                        "from": st.just({"phone_number": "+14155550123"}) | word | anything,
                        "to": st.just([{"phone_number": "+14155550123"}]) | word | anything,
                        "text": word | anything,
                        "direction": st.sampled_from(["incoming", "outgoing"]),
                        "duration_secs": st.integers() | word | anything,
                        "hangup_cause": word | anything,
                        "result": st.sampled_from(["human", "machine"]) | word,
                        "media": st.lists(
                            st.just({"url": "https://x/", "content_type": "image/png"}) | anything, max_size=3
                        ),
                        "error_code": word | anything,
                        "digit": word | anything,
                        "status": word | anything,
                    },
                ),
            },
        )
        | anything
    },
)
form_names = st.sampled_from(
    ["CallSid", "MessageSid", "SequenceNumber", "Timestamp", "CallStatus", "CallbackEvent", "MessageStatus", "SmsStatus",
     "AnsweredBy", "CallDuration", "Direction", "From", "To", "Body", "NumMedia", "MediaUrl0", "MediaContentType0",
     "ErrorCode", "Digits", "SignedAt"]
)  # fmt: skip
form_words = word | st.sampled_from(
    ["completed", "received", "inbound", "human", "answered", "ringing", "amd", "3", "2026-03-01T10:00:00+00:00"]
)
forms = st.lists(st.tuples(form_names, form_words), max_size=14).map(
    lambda pairs: "&".join(f"{name}={quoted(value)}" for name, value in pairs).encode()
)


def quoted(value: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(value.encode("utf-8", "replace"))


@pytest.fixture(scope="module")
def adapters() -> Iterator[Mapping[str, Carrier]]:
    yield targets.carriers()


@pytest.fixture(scope="module", autouse=True)
def own_loop() -> Iterator[None]:
    yield
    targets.close()


headers = st.dictionaries(
    st.sampled_from(["x-sim-timestamp", "x-sim-signature", "authorization"]),
    st.text(st.characters(max_codepoint=255), max_size=40),
)


@tries(SAMPLE)
@given(
    name=st.sampled_from(sorted(targets.carriers())),
    body=st.binary(max_size=300)
    | envelopes.map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
    | forms,
    headers=headers,
)
def test_callbacks(adapters: Mapping[str, Carrier], name: str, body: bytes, headers: Mapping[str, str]) -> None:
    targets.check_callback(adapters[name], body, headers)


csv_text = st.text(string.digits + string.ascii_letters + '+(),;"\t\r\n -.\0é', max_size=200)


@tries(SAMPLE)
@given(
    data=st.binary(max_size=300)
    | csv_text.map(str.encode)
    | csv_text.map(lambda text: b"\xef\xbb\xbfphone,name\n" + text.encode())
    | st.text(max_size=80).map(lambda text: text.encode("utf-16")),
    cuts=cuts,
    region=st.sampled_from(["US", "GB"]),
)
def test_csv(data: bytes, cuts: list[int], region: str) -> None:
    targets.check_csv(data, cuts, region)


phones = st.integers(2_000_000, 9_999_999).map(lambda rest: f"+1415{rest}")
cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=20)


@tries(SAMPLE)
@given(table=st.lists(st.tuples(phones, cells, cells), max_size=8))
def test_csv_as_others_write_it(table: list[tuple[str, str, str]]) -> None:
    targets.check_csv_oracle(table)


@tries(SAMPLE)
@given(text=st.text(max_size=40) | st.text(string.digits + "+()-. xe", max_size=25), region=regions)
def test_phones(text: str, region: str) -> None:
    targets.check_phone(text, region)


@tries(SAMPLE)
@given(text=st.text(max_size=40) | st.integers().map(str) | st.sampled_from(["٣", "²", "1\n", "+1", "01", "9" * 19]))
def test_event_ids(text: str) -> None:
    targets.check_event_id(text)


@tries(SAMPLE)
@given(
    prefix=st.sampled_from(["camp", "pros", "", "whk"]),
    text=st.text(max_size=30)
    | st.text("0123456789abcdefghjkmnpqrstvwxyz-_", max_size=35)
    | st.from_regex(r"\A(camp|pros)_[0-9a-z]{13}\Z")
    | st.from_regex(r"\A[0-9a-h]{13}-[0-9a-h]{13}-[0-9]{1,5}\Z"),
    limit=st.none() | st.integers(),
)
def test_cursors(prefix: str, text: str, limit: int | None) -> None:
    targets.check_cursor(prefix, text, limit)


TYPES = ["authrequest", "startusereventrequest", "stopusereventrequest", "startaccounteventrequest", "x"]
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES) | anything},
    optional={"topics": st.lists(word) | word | anything, "lastEventId": word | anything, "token": anything},
).map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode())


@tries(SAMPLE)
@given(text=st.text(max_size=100) | messages)
def test_socket_messages(text: str) -> None:
    targets.check_socket_message(text)


pieces = st.sampled_from(["{{", "}}", "|", "first_name", " ", "Hello", "{", "}", "\u202e", "\n", "é"]) | st.text(
    max_size=5
)


@tries(SAMPLE)
@given(
    text=st.lists(pieces, max_size=12).map("".join) | st.text(max_size=60),
    values=st.dictionaries(
        st.sampled_from(["First Name", "first_name", "a"]) | st.text(max_size=8), st.text(max_size=400), max_size=4
    ),
)
def test_templates(text: str, values: dict[str, str]) -> None:
    targets.check_template(text, values)


parts = st.sampled_from(
    [b"--x\r\n", b"--x--\r\n", b"\r\n", b"\n", b'Content-Disposition: form-data; name="a"; filename="b"\r\n', b"\r\n\r\n", b"--",
     b"Content-Disposition: form-data\r\n", b"phone\n", b"+14155550123\n", b"Content-Disposition: form-data; filename*=utf-8''x\r\n"]
) | st.binary(max_size=20)  # fmt: skip


@tries(SAMPLE)
@given(
    body=st.lists(parts, max_size=12).map(b"".join),
    cuts=cuts,
    kind=st.sampled_from(["multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary=", "text/csv",
                          "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", ""]) | st.text(st.characters(max_codepoint=255), max_size=40),
)  # fmt: skip
def test_uploads(body: bytes, cuts: list[int], kind: str) -> None:
    targets.check_upload(body, cuts, kind)


@tries(SAMPLE)
@given(
    body=st.binary(max_size=100)
    | anything.map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
    | st.integers(1, 1_200).map(lambda depth: b"[" * depth + b"]" * depth)
    | st.integers(1, 1_200).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth)
    | st.text(max_size=40).map(lambda text: orjson.dumps({"a": text}) + b" "),
    kind=st.sampled_from(
        ["application/json", "application/problem+json; charset=x", "text/plain", "application/x-www-form-urlencoded"]
    ),
)
def test_json_bodies(body: bytes, kind: str) -> None:
    targets.check_json(body, kind)


voice = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("ai", "voicemailAudioUrl", "calls_per_second", "agent", "systemPrompt", "ringTimeout", "maxDuration", "concurrentCalls", "pacing", "abandonTarget", "max_retries", "retry_delay", "retry", "message"), anything | word),
)  # fmt: skip
campaigns = st.fixed_dictionaries(
    {},
    optional={
        "name": word | anything,
        "channel": st.sampled_from(["voice", "sms"]) | anything,
        "purpose": anything,
        "mode": voice | anything,
        "callerIds": st.lists(word | anything, max_size=4) | anything,
        "callerIdStrategy": anything,
        "schedule": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("timezone", "startHour", "endHour", "days"), anything | word)
        )
        | anything,
    },
)


@tries(SAMPLE)
@given(body=campaigns | anything)
def test_campaigns(body: Any) -> None:
    targets.check_campaign(body)


HOSTS = ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "[::1]", "[::ffff:10.0.0.1]", "localhost", "10.0.0.1",
         "169.254.169.254", "[fd00::1]", "[64:ff9b::a00:1]", "1.1.1.1", "example.com", "①②⑦.⓪.⓪.①", "[::]", "0", "[fe80::1%25eth0]",
         "127.0.0.1.", "127。0。0。1", "%31%32%37.0.0.1", "metadata.google.internal"]  # fmt: skip


@tries(SAMPLE)
@given(
    url=st.text(max_size=60)
    | st.builds(
        lambda scheme, user, host, port, path: f"{scheme}://{user}{host}{port}/{path}",
        st.sampled_from(["https", "HTTPS", "http", "ftp", "https:", "\thttps"]),
        st.sampled_from(["", "a@", "a:b@", "1.1.1.1@", "\\@", "%40"]),
        st.sampled_from(HOSTS) | st.integers(0, 2**32).map(str) | st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip)),
        st.sampled_from(["", ":443", ":8443", ":22", ":0", ":", ":99999", ":٤٤٣"]),
        st.text(max_size=10),
    )
)  # fmt: skip
def test_urls(url: str) -> None:
    targets.check_url(url)


@tries(SAMPLE)
@given(
    globs=st.lists(
        st.lists(st.sampled_from(["voice", "*", "**", "incoming", "", "x*", "é"]), max_size=10).map(".".join) | word,
        max_size=60,
    )
)
def test_topics(globs: list[str]) -> None:
    targets.check_topics(globs)


@tries(SAMPLE)
@given(
    value=st.text(max_size=40)
    | st.integers().map(str)
    | st.builds(
        lambda day, year, zone: f"Mon, {day} Jan {year} 00:00:00 {zone}",
        st.integers(),
        st.integers(),
        st.sampled_from(["GMT", "+9999", "-0000", "x"]),
    )
)
def test_retry_after(value: str) -> None:
    targets.check_retry_after(value)


@tries(SAMPLE)
@given(
    before=st.text(max_size=20),
    secret=st.text(string.ascii_letters + string.digits + "_-", min_size=8, max_size=43),
    after=st.text(max_size=20),
)
def test_redaction(before: str, secret: str, after: str) -> None:
    targets.check_redaction(before, secret, after)


@tries(SAMPLE)
@given(
    name=st.text(max_size=30),
    data=st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=4),
    seq=st.integers(0, 2**63 - 1),
)
def test_frames(name: str, data: dict[str, str], seq: int) -> None:
    targets.check_frame(name, data, seq)
