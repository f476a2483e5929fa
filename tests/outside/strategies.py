"""What strangers may send, for hypothesis: near enough to the real thing to come past the first check."""

import json
import string
from typing import Any

from hypothesis import strategies as st


def one_of(*values: object) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | floats | st.text(max_size=20)
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
long_number = st.integers(5_000, 5_001).map(lambda size: "9" * size)  # not written out: its repr would be printed
odd = long_number | one_of("", "\0", "inf", "1e999", "-1", "2026-03-01T00:00:00+23:59", "0001-01-01", "é")
word = odd | st.text(max_size=30)
value = word | anything
latin = st.text(st.characters(max_codepoint=255), max_size=40)
cuts = st.lists(st.integers(0, 10_000), max_size=5)
regions = one_of("US", "GB", "DE", "AR", "SG", "001", "")

# files
csv_text = st.text(string.digits + string.ascii_letters + '+(),;"\t\r\n -.\0é', max_size=200)
csv_files = (
    st.binary(max_size=300)
    | csv_text.map(str.encode)
    | csv_text.map(lambda text: b"\xef\xbb\xbfphone,name\n" + text.encode())
    | st.text(max_size=80).map(lambda text: text.encode("utf-16"))
)
phones = st.integers(2_000_000, 9_999_999).map(lambda rest: f"+1415{rest}")
cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=20)
tables = st.lists(st.tuples(phones, cells, cells), max_size=8)
parts = (
    one_of(b"--x\r\n", b"--x--\r\n", b"\r\n", b"\n", b"\r\n\r\n", b"--", b"phone\n", b"+14155550123\n")
    | one_of(b"Content-Disposition: form-data\r\n", b"Content-Disposition: form-data; filename*=utf-8''x\r\n")
    | one_of(b'Content-Disposition: form-data; name="a"; filename="b"\r\n')
    | st.binary(max_size=20)
)
multipart = st.lists(parts, max_size=12).map(b"".join)
upload_types = latin | one_of(
    *("multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary=", "text/csv"),
    *("multipart/mixed; boundary=x", "application/x-www-form-urlencoded", ""),
)

# JSON
depths = st.integers(1, 1_200)
json_bodies = (
    st.binary(max_size=100)
    | anything.map(as_json)
    | depths.map(lambda depth: b"[" * depth + b"]" * depth)
    | depths.map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth)
    | st.text(max_size=40).map(lambda text: as_json({"a": text}) + b" ")
)
json_types = one_of("application/json", "application/problem+json; charset=x", "text/plain", "multipart/form-data")
modes = some(
    ai=value,
    voicemailAudioUrl=value,
    calls_per_second=value,
    agent=some(kind=one_of("sip", "ws_media", "number") | value, uri=value, url=value, params=value) | value,
    systemPrompt=value,
    ringTimeout=value,
    concurrentCalls=value,
    pacing=value,
    abandonTarget=value,
    max_retries=value,
    retry_delay=value,
    retry=some(busy=some(max=value, delay=value) | value) | value,
    message=value,
)
campaigns = anything | some(
    name=value,
    channel=one_of("voice", "sms") | anything,
    purpose=value,
    mode=modes | value,
    callerIds=st.lists(value, max_size=4) | value,
    callerIdStrategy=some(selection=value, local_presence=value) | value,
    schedule=some(timezone=value, startHour=value, endHour=value, days=value) | value,
)

# ids, topics, times
event_ids = st.text(max_size=40) | st.integers().map(str) | one_of("٣", "²", "1\n", "+1", "01", "9" * 19)
public_ids = (
    st.text(max_size=30)
    | st.text("0123456789abcdefghjkmnpqrstvwxyz-_", max_size=35)
    | st.from_regex(r"\A(camp|pros)_[0-9a-z]{13}\Z")
    | st.from_regex(r"\A[0-9a-h]{13}-[0-9a-h]{13}-[0-9]{1,5}\Z")
)
request_types = one_of("authrequest", "startusereventrequest", "stopusereventrequest", "startaccounteventrequest", "x")
socket_messages = st.text(max_size=100) | some(
    type=request_types | anything, topics=st.lists(word) | value, lastEventId=value, token=value
).map(lambda message: as_json(message).decode())
segments = one_of("voice", "*", "**", "incoming", "", "x*", "é")
topics = st.lists(st.lists(segments, max_size=10).map(".".join) | word, max_size=60)
retry_afters = (
    st.text(max_size=40)
    | st.integers().map(str)
    | st.builds("Mon, {} Jan {} 00:00:00 {}".format, st.integers(), st.integers(), one_of("GMT", "+9999", "-0000", "x"))
)

# texts
template_pieces = st.text(max_size=5) | one_of("{{", "}}", "|", "first_name", " ", "Hello", "{", "}", "\u202e", "\n")
template_texts = st.lists(template_pieces, max_size=12).map("".join) | st.text(max_size=60)
template_values = st.dictionaries(
    one_of("First Name", "first_name", "a") | st.text(max_size=8), st.text(max_size=400), max_size=4
)
payloads_of_events = st.dictionaries(st.text(max_size=10), st.text(max_size=30) | st.booleans(), max_size=4)
secrets = st.text(string.ascii_letters + string.digits + "_-", min_size=8, max_size=43)

# addresses
HOSTS = (
    *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "[::1]", "[::ffff:10.0.0.1]", "localhost"),
    *("10.0.0.1", "169.254.169.254", "[fd00::1]", "[64:ff9b::a00:1]", "1.1.1.1", "example.com", "①②⑦.⓪.⓪.①"),
    *("[::]", "0", "[fe80::1%25eth0]", "127.0.0.1.", "127。0。0。1", "%31%32%37.0.0.1", "[2002:7f00:1::]"),
)
literals = st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip))
hosts = one_of(*HOSTS) | st.integers(0, 2**32).map(str) | literals
urls = st.text(max_size=60) | st.builds(
    "{}://{}{}{}/{}".format,
    one_of("https", "HTTPS", "http", "ftp", "https:", "\thttps"),
    one_of("", "a@", "a:b@", "1.1.1.1@", "\\@", "%40"),
    hosts,
    one_of("", ":443", ":8443", ":22", ":0", ":", ":99999", ":٤٤٣"),
    st.text(max_size=10),
)
