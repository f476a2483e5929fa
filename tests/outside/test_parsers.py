"""Everything that reads what strangers send, under hypothesis.

`targets` says what must hold, `strategies` what comes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import Phase, example, given, seed, settings
from hypothesis import strategies as st

from engine.carriers import catalog
from engine.carriers.port import BadCallback, Carrier, CarrierEvent, InboundCall, InboundMessage
from tests.outside import callback_bodies, targets
from tests.outside import strategies as outside
from tests.outside.amount import tries

SAMPLE = 60


@pytest.fixture(scope="module")
def adapters() -> Mapping[str, Carrier]:
    return targets.carriers()


@pytest.fixture(scope="module", autouse=True)
def own_loop() -> Iterator[None]:
    yield
    targets.close()


@tries(SAMPLE)
@given(name=st.sampled_from(sorted(catalog.CARRIERS)), body=callback_bodies.bodies, headers=callback_bodies.headers)
def test_callbacks(adapters: Mapping[str, Carrier], name: str, body: bytes, headers: Mapping[str, str]) -> None:
    targets.check_callback(adapters[name], body, headers)


def test_many_of_these_callbacks_can_be_read(adapters: Mapping[str, Carrier]) -> None:
    """Else nothing behind the first check would be tried."""
    found: Counter[str] = Counter()

    @seed(1)
    @settings(max_examples=300, database=None, phases=[Phase.generate])
    @given(body=callback_bodies.commands | callback_bodies.documents)
    def read(body: bytes) -> None:
        name = "simulated-command" if body.startswith(b"{") else "simulated-document"
        stamp = b"" if name == "simulated-command" else b"&SignedAt=%d" % targets.NOW_S
        try:
            for each in adapters[name].read(targets.signed(name, body + stamp), targets.NOW_S):
                found[type(each).__name__] += 1
        except BadCallback:
            found["unreadable"] += 1

    read()
    assert found["unreadable"] < 200
    assert min(found[kind.__name__] for kind in (CarrierEvent, InboundMessage, InboundCall)) > 10


@tries(SAMPLE)
@given(stamp=outside.word | st.integers().map(str))
def test_stamps_of_callbacks(adapters: Mapping[str, Carrier], stamp: str) -> None:
    for carrier in adapters.values():
        targets.check_stamp(carrier, stamp)


@tries(SAMPLE)
@given(data=outside.csv_files, cuts=outside.cuts, region=st.sampled_from(["US", "GB"]))
def test_csv(data: bytes, cuts: list[int], region: str) -> None:
    targets.check_csv(data, cuts, region)


@tries(SAMPLE)
@given(table=outside.tables)
def test_csv_as_others_write_it(table: list[tuple[str, str, str]]) -> None:
    targets.check_csv_oracle(table)


@tries(SAMPLE)
@given(text=st.text(max_size=40) | st.text("0123456789+()-. xe", max_size=25), region=outside.regions)
def test_phones(text: str, region: str) -> None:
    targets.check_phone(text, region)


@tries(SAMPLE)
@given(text=outside.event_ids)
def test_event_ids(text: str) -> None:
    targets.check_event_id(text)


@tries(SAMPLE)
@given(prefix=st.sampled_from(["camp", "pros", "", "whk"]), text=outside.public_ids, limit=st.none() | st.integers())
def test_cursors(prefix: str, text: str, limit: int | None) -> None:
    targets.check_cursor(prefix, text, limit)


@tries(SAMPLE)
@given(text=outside.socket_messages)
def test_socket_messages(text: str) -> None:
    targets.check_socket_message(text)


@tries(SAMPLE)
@given(text=outside.template_texts, values=outside.template_values)
def test_templates(text: str, values: dict[str, str]) -> None:
    targets.check_template(text, values)


FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nphone\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("before", "read"), [(b"", b"phone"), (b"\r\n\n", b"phone"), (b"\r\njunk\r\n", None), (b"-", None)]
)
def test_a_form_is_what_it_is_however_it_is_cut(before: bytes, read: bytes | None) -> None:
    """What came before the first boundary was read or refused by where the network had cut it."""
    body, kind = before + FILE, "multipart/form-data; boundary=x"
    assert {targets.upload([body[:cut], body[cut:]], kind) for cut in range(len(body) + 1)} == {read}


@tries(SAMPLE)
@given(body=outside.multipart, cuts=outside.cuts, kind=outside.upload_types)
def test_uploads(body: bytes, cuts: list[int], kind: str) -> None:
    targets.check_upload(body, cuts, kind)


@tries(SAMPLE)
@given(body=outside.json_bodies, kind=outside.json_types)
def test_json_bodies(body: bytes, kind: str) -> None:
    targets.check_json(body, kind)


@tries(SAMPLE)
@given(body=outside.campaigns)
def test_campaigns(body: Any) -> None:
    targets.check_campaign(body)


@tries(SAMPLE)
@given(url=outside.urls)
def test_urls(url: str) -> None:
    targets.check_url(url)


@tries(SAMPLE)
@given(globs=outside.topics)
def test_topics(globs: list[str]) -> None:
    targets.check_topics(globs)


@tries(SAMPLE)
@given(value=outside.retry_afters)
@example("\x1e0")  # which is a digit between spaces for `strip`, and no number for `float`
def test_retry_after(value: str) -> None:
    targets.check_retry_after(value)


@tries(SAMPLE)
@given(before=st.text(max_size=20), secret=outside.secrets, after=st.text(max_size=20))
def test_redaction(before: str, secret: str, after: str) -> None:
    targets.check_redaction(before, secret, after)


@tries(SAMPLE)
@given(name=st.text(max_size=30), data=outside.payloads_of_events, seq=st.integers(0, 2**63 - 1))
def test_frames(name: str, data: object, seq: int) -> None:
    targets.check_frame(name, data, seq)
