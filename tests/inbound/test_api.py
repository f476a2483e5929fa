"""From a person's phone to the client and back: a real network, a real api, real callbacks, and a worker's hand."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from sqlalchemy import text

from engine.carriers import simulated_document
from engine.carriers.network import app as network_app
from engine.clock import iso
from engine.dispatch import media
from engine.dispatch.media import Fault, MediaFetch
from tests.api.conftest import Serve, api, client, plain_logs, serve
from tests.api.harness import Answer, Api, Client
from tests.carriers.conftest import serve as serve_http
from tests.carriers.conftest import stage_config
from tests.inbound.conftest import PERSON
from tests.store.conftest import until

__all__ = ["api", "client", "plain_logs", "serve"]

OURS = "+13105550100"
SECRET = "of-the-network"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@dataclass
class Line:
    """A network, an api that it reports to, and a client that owns `OURS`."""

    network: network_app.Running
    api: Api
    client: Client

    async def receive(self, **what: Any) -> str:
        """Waits until the network has been answered 2xx; returns the carrier's id."""
        body = {"url": f"{self.api.url}/carriers/simulated-command/callbacks", "from": PERSON, "to": OURS} | what
        async with self.api.session.post(f"{self.network.base_url}/control/inbound", json=body) as answer:
            name = str((await answer.json())["id"])

        async def is_taken() -> bool:
            lines, _ = self.network.exchange.journal.read(0)
            return any(
                each["type"] == "callback" and each["carrier_id"] == name and each["status"] == 200 for each in lines
            )

        await until(is_taken)
        return name

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.api.runtime.db.begin() as conn:
            result = await conn.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []

    async def message_id(self) -> str:
        """The public id of the newest message, as its event says it."""
        rows = await self.rows(
            "select e::json -> 'payload' ->> 'id' from outbox, string_to_table(body, chr(10)) e"
            " where e::json ->> 'type' = 'sms.received' order by outbox.id desc limit 1"
        )
        return str(rows[0][0])

    async def mms(self, *files: dict[str, str], **more: Any) -> str:
        await self.receive(media=list(files), **more)
        return await self.message_id()

    async def fetch(self) -> int:
        """What a worker does every second."""
        return await MediaFetch(self.api.runtime).run_once()


@pytest.fixture
async def line(serve: Serve, tmp_path: Path) -> AsyncIterator[Line]:
    account = {"id": "sim", "secret": SECRET, "signing_secret": SECRET}
    async with network_app.running(stage_config(accounts=(account,)), tmp_path / "network.jsonl") as network:
        api = await serve(
            CARILLON_SIMULATED_URL=network.base_url,
            simulated_secret=SECRET,
            simulated_url=network.base_url,
            media_max_bytes=100_000,
        )
        yield Line(network, api, await api.client(numbers=[OURS]))


def inline(body: bytes, content_type: str = "image/png") -> dict[str, str]:
    return {"content_type": content_type, "data": base64.b64encode(body).decode()}


async def test_a_text_is_received_and_a_stop_is_answered(line: Line) -> None:
    await line.receive(text="Hello")
    await line.receive(text="STOP")
    assert await line.rows("select body, meaning from inbound_messages order by id") == [
        ("Hello", ""),
        ("STOP", "opt_out"),
    ]
    ((campaign_id, phone, data),) = await line.rows(
        "select c.id, p.phone, p.data from prospects p join campaigns c on c.id = p.campaign_id where c.is_system"
    )
    assert (phone, data["from"]) == (PERSON, OURS)
    woken = await line.api.runtime.redis.lrange("carillon:wake", 0, -1)
    assert woken == [str(campaign_id).encode()]


async def test_a_text_that_could_not_be_taken_comes_again(line: Line) -> None:
    """Its transaction fails at its last statement; the carrier is told, and tries again until it is well."""
    await line.rows(
        "insert into usage_counts (account_id, day, meter, writer, quantity) select a.id, d, 'sms.receive', -n,"
        " 9223372036854775807 from accounts a, generate_series(1, 16) n, generate_series(date '2026-03-11',"
        " '2026-03-12', '1 day') d"
    )
    receiving = asyncio.create_task(line.receive(text="STOP"))

    async def is_refused() -> bool:
        lines, _ = line.network.exchange.journal.read(0)
        return any(each["type"] == "callback" and each["status"] == 500 for each in lines)

    await until(is_refused)
    assert await line.rows("select 1 from inbound_messages") == []
    await line.rows("delete from usage_counts")
    await receiving
    assert await line.rows("select source from suppressions") == [("sms_keyword",)]
    assert await line.rows("select count(*)::int from inbound_messages") == [(1,)]


async def test_an_unknown_number_is_answered_and_kept_for_the_record(line: Line) -> None:
    await line.receive(text="STOP", to="+13105550199")
    assert await line.rows(
        "select event ->> 'kind', event -> 'raw' is not null, processed_at is null from carrier_callbacks"
    ) == [("unrecognised", True, False)]
    for table in ("inbound_messages", "suppressions", "outbox"):
        assert await line.rows(f"select 1 from {table}") == []


async def test_a_call_is_stored_and_told(line: Line) -> None:
    await line.receive(channel="voice")

    async def has_ended() -> bool:
        return await line.rows("select state from inbound_calls") == [(2,)]

    await until(has_ended)
    rows = await line.rows(
        "select e::json ->> 'type' from outbox, string_to_table(body, chr(10)) with ordinality as told (e, place)"
        " order by outbox.id, place"
    )
    assert rows == [("voice.inbound",), ("call.incoming.ended",)]


async def test_a_document_carrier_gets_its_documents(line: Line) -> None:
    sms = {"SmsStatus": "received", "MessageSid": "SM1", "Body": "Hi", "NumMedia": "0"}
    ringing = {"Direction": "inbound", "CallSid": "CA1", "CallStatus": "ringing"}
    answers = [await _post_form(line, form) for form in (sms, sms, ringing, ringing)]
    assert [answer.status for answer in answers] == [200] * 4
    assert "<Response/>" in answers[0].text
    assert "<Say>" in answers[2].text
    assert "<Hangup/>" in answers[2].text
    assert answers[0].text == answers[1].text
    assert answers[2].text == answers[3].text
    assert await line.rows("select count(*)::int from inbound_messages") == [(1,)]
    assert await line.rows("select count(*)::int from inbound_calls") == [(1,)]


async def _post_form(line: Line, form: dict[str, str]) -> Answer:
    url = f"{line.api.runtime.settings.public_url}/carriers/simulated-document/callbacks"
    whole = {
        "From": PERSON,
        "To": OURS,
        "Timestamp": iso(line.api.runtime.clock.now()),
        "SignedAt": str(int(time.time())),
        **form,
    }
    headers = {
        simulated_document.SIGNATURE_HEADER: simulated_document.signature(SECRET, url, whole),
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": None,
    }
    return await Client(line.api.session, line.api.url, "")(
        "POST", "/carriers/simulated-document/callbacks", data=urlencode(whole), headers=headers
    )


# ── media ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_media_are_fetched_once_and_served(line: Line) -> None:
    name = await line.mms(inline(PNG), inline(b"BEGIN:VCARD", "text/vcard"), text="look")
    path = f"/api/sms/{name}/components"
    pending = await line.client("GET", f"{path}/1")
    assert (pending.status, pending.error["code"], "Retry-After" in pending.headers) == (503, "unavailable", True)
    assert [each["status"] for each in (await line.client("GET", path)).json["components"]] == ["pending"] * 2
    assert await line.fetch() == 1
    assert await line.fetch() == 0  # once
    listed = (await line.client("GET", path)).json["components"]
    assert listed == [
        {"n": 1, "contentType": "image/png", "size": len(PNG), "status": "ready", "reason": None},
        {"n": 2, "contentType": "text/vcard", "size": 11, "status": "ready", "reason": None},
    ]
    async with line.api.session.get(
        f"{line.api.url}{path}/1", headers={"Authorization": f"Bearer {line.client.key}"}
    ) as answer:
        assert (answer.status, await answer.read()) == (200, PNG)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}-1.png"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await line.client("GET", f"/sms/{name}/components")).status == 200  # the bare alias


async def test_an_sms_has_no_components(line: Line) -> None:
    await line.receive(text="Hello")
    name = await line.message_id()
    assert (await line.client("GET", f"/api/sms/{name}/components")).json == {"components": []}
    assert (await line.client("GET", f"/api/sms/{name}/components/1")).status == 404


async def test_media_are_their_owners_only(line: Line) -> None:
    name = await line.mms(inline(b"a text", "text/plain"))
    await line.fetch()
    stranger = await line.api.client()
    narrow = await line.api.client(["campaigns:read"], account_id=line.client.account_id)
    for path in (f"/api/sms/{name}/components", f"/api/sms/{name}/components/1"):
        assert (await line.client("GET", path)).status == 200
        assert (await stranger("GET", path)).status == 404
        assert (await narrow("GET", path)).status == 403
        assert (await line.client("GET", path, headers={"Authorization": None})).status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/sms/msg_0000000000001/components", 404),
        ("/api/sms/nonsense/components", 404),
        ("/api/sms/{name}/components/0", 404),
        ("/api/sms/{name}/components/2", 404),
        ("/api/sms/{name}/components/-1", 404),
        ("/api/sms/{name}/components/99999999999999999999", 404),
        ("/api/sms/{name}/components/one", 400),
    ],
)
async def test_wrong_paths(line: Line, path: str, status: int) -> None:
    name = await line.mms(inline(PNG))
    answer = await line.client("GET", path.format(name=name))
    assert answer.status == status
    assert answer.error["message"]


async def test_a_carrier_that_is_away_is_asked_again_and_given_up_in_the_end(line: Line) -> None:
    name = await line.mms({"content_type": "image/png", "url": f"{line.network.base_url}/media/none"})
    path = f"/api/sms/{name}/components/1"
    assert await line.fetch() == 1
    assert (await line.client("GET", path)).status == 503
    assert await line.rows("select media_tries, media_due_at > clock_timestamp() from inbound_messages") == [(1, True)]
    assert await line.fetch() == 0  # not yet
    await line.rows("update inbound_messages set media_due_at = now(), media_tries = 99")
    assert await line.fetch() == 1
    gone = await line.client("GET", path)
    assert (gone.status, "gone" in gone.error["message"]) == (404, True)
    assert await line.rows("select media_due_at from inbound_messages") == [(None,)]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (inline(b"x" * 100_001), "too_large"),
        (inline(b"<script>", "text/html"), "unsupported_type"),
        ({"content_type": "image/png", "url": "http://169.254.169.254/latest/meta-data"}, "refused"),
        ({"content_type": "image/png", "url": "https://127.0.0.1:9/x.png"}, "refused"),
        ({"content_type": "image/png", "url": "file:///etc/passwd"}, "refused"),
        ({"content_type": "image/png", "url": "https://user:pw@example.com/"}, "refused"),
        ({"content_type": "image/png", "url": "nonsense"}, "refused"),
    ],
)
async def test_what_is_not_fetched_says_why(line: Line, file: dict[str, str], reason: str) -> None:
    name = await line.mms(file, inline(PNG))
    await line.fetch()
    first, second = (await line.client("GET", f"/api/sms/{name}/components")).json["components"]
    assert (first["status"], first["reason"], second["status"]) == ("failed", reason, "ready")
    answer = await line.client("GET", f"/api/sms/{name}/components/1")
    assert (answer.status, reason in answer.error["message"]) == (404, True)


async def test_two_workers_fetch_each_message_once(line: Line) -> None:
    for _ in range(3):
        await line.mms(inline(PNG))
    assert sum(await asyncio.gather(*(line.fetch() for _ in range(4)))) == 3
    assert await line.rows("select count(*)::int from inbound_media") == [(3,)]


async def test_a_worker_that_died_is_followed(line: Line) -> None:
    name = await line.mms(inline(PNG), inline(b"second"))
    await line.fetch()
    await line.rows("delete from inbound_media where component = 2")
    await line.rows("update inbound_messages set media_due_at = clock_timestamp()")  # its lease has run out
    await line.fetch()
    listed = (await line.client("GET", f"/api/sms/{name}/components")).json["components"]
    assert [each["status"] for each in listed] == ["ready", "ready"]


async def test_redirects_and_answers_of_every_kind() -> None:
    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async def empty(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    routes = [web.get("/moved", moved), web.get("/endless", endless), web.get("/empty", empty)]
    async with serve_http(routes) as base:
        assert await media.fetch(f"{base}/moved?to=/x", "image/png", 10, is_inside=True) == Fault(
            "refused", is_final=True
        )
        assert await media.fetch(f"{base}/endless", "image/png", 10_000, is_inside=True) == Fault(
            "too_large", is_final=True
        )
        assert await media.fetch(f"{base}/empty", "image/png", 10, is_inside=True) == Fault(
            "status 503", is_final=False
        )
        assert await media.fetch(f"{base}/empty", "image/png", 10, is_inside=False) == Fault("refused", is_final=True)
    away = await media.fetch(f"{base}/empty", "image/png", 10, is_inside=True)
    assert isinstance(away, Fault)
    assert not away.is_final
