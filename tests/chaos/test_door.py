"""Clients that know two addresses."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from api_min.cli.chaos.door import Door


async def test_a_client_goes_to_its_other_address_whatever_others_ask_meanwhile() -> None:
    """Or, of two apis one of which is frozen, a probe may meet the frozen one for as long as that lasts."""
    async with aiohttp.ClientSession() as session:
        door = Door(session, ["http://one", "http://two"], "key")
        probe = door.of_another_client()
        asked = [each.next_url() for each in (probe, door, probe, door, door, probe)]
    assert asked == ["http://one", "http://one", "http://two", "http://two", "http://one", "http://one"]


@pytest.mark.parametrize("status", [200, 503])
async def test_what_all_clients_were_answered_is_counted_together(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        door = Door(session, [str(server.make_url("")).rstrip("/")], "key")
        assert (await door.ask("GET", "/")).is_good is (await door.of_another_client().ask("GET", "/")).is_good
    assert door.answers == {status: 2}
