"""How long a run waits for the last outcome."""

from collections.abc import Iterator, Sequence

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from api_min.cli.chaos.door import Door
from api_min.cli.chaos.ending import Ending
from api_min.cli.chaos.load import Campaign, Load, Size

_PATIENCE_S = 0.6  # a look takes place every half second
_PEOPLE = 9


async def _finish(done: Sequence[int]) -> tuple[bool, int]:
    """Whether everybody had an outcome, and how many looks were left, when so many had one at each look."""
    looks: Iterator[int] = iter(done)

    async def campaign(_: web.Request) -> web.Response:
        stats = {"completed": next(looks), "cancelled": 0, "total": _PEOPLE}
        status = "completed" if stats["completed"] == _PEOPLE else "dialing"
        return web.json_response({"status": status, "stats": stats})

    app = web.Application()
    app.router.add_get("/api/campaigns/{id}", campaign)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        load = Load(Door(session, [str(server.make_url(""))], "key"), Size(1, _PEOPLE, 1), 0, Ending())
        load.campaigns.append(Campaign("cmp_1", "voice", 1.0, []))
        return await load.finish(_PATIENCE_S), len(list(looks))


@pytest.mark.parametrize(
    ("done", "is_complete", "unused"),
    [
        ([1, 2, 3, 4, _PEOPLE, 0], True, 1),  # ever later than the patience, and ever more
        ([1, 2, 2, 2, 2, 2], False, 3),  # two looks without anybody more
    ],
)
async def test_it_waits_as_long_as_anybody_more_has_an_outcome(done: list[int], is_complete: bool, unused: int) -> None:
    assert await _finish(done) == (is_complete, unused)
