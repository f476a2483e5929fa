"""`carillon sim`: what it says when something is not there, and what it sends when all is."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from api_min.cli.sim import app
from engine.errors import CarillonError, InvalidInput, Unavailable
from engine.processes.stack import SIM_FILE
from tests.carriers.conftest import serve as serve_http

FROM_TO = ["--from", "+12125550147", "--to", "+13105550100"]


def run(*arguments: str, **environment: str) -> str:
    """What it prints. Raises the error that `carillon` would print in red."""
    unset: dict[str, str | None] = dict.fromkeys(("CARILLON_SIMULATED_URL", "CARILLON_PUBLIC_URL"))
    result = CliRunner().invoke(app, list(arguments), env=unset | environment)
    if isinstance(result.exception, CarillonError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["text", *FROM_TO], "give a message"),
        (["text", "Hi", "--from", "212-555-0147"], "--from"),
        (["text", "Hi", "--to", "+0"], "--to"),
        (["text", "Hi", *FROM_TO, "--carrier", "telco"], "simulated-document"),
        (["text", "Hi", *FROM_TO, "--media", "/no/such/file.png"], "/no/such/file.png"),
        (["text", "Hi", *FROM_TO, "--folder", "/no/such"], "carillon dev"),
    ],
)
def test_wrong_use_says_the_remedy(arguments: list[str], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        run(*arguments)


def test_a_network_that_is_away() -> None:
    with pytest.raises(Unavailable, match="is it running"):
        run(
            "text",
            "Hi",
            *FROM_TO,
            CARILLON_SIMULATED_URL="http://127.0.0.1:9",
            CARILLON_PUBLIC_URL="http://127.0.0.1:9",
        )


@pytest.mark.parametrize("status", [200, 503])
async def test_it_finds_both_in_the_folder_and_waits_for_the_answer(tmp_path: Path, status: int) -> None:
    asked: list[dict[str, object]] = []

    async def inbound(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({"id": "SM1", "next": 7})

    async def log(request: web.Request) -> web.Response:
        assert int(request.query["since"]) >= 7
        others = {"type": "callback", "carrier_id": "SM0", "status": 404}
        own = {"type": "callback", "carrier_id": "SM1", "status": status}
        return web.json_response({"lines": [others, own][: len(asked) + 1], "next": 9})

    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    routes = [web.post("/control/inbound", inbound), web.get("/control/log", log)]
    async with serve_http(routes) as network:
        (tmp_path / SIM_FILE).write_text(json.dumps({"network": network, "api": "http://api.example"}))
        arguments = ["text", "Hi", *FROM_TO, "--media", str(picture), "--folder", str(tmp_path)]
        running = asyncio.to_thread(run, *arguments)
        if status == 200:
            assert "SM1" in await running
        else:
            with pytest.raises(Unavailable, match="503"):
                await running
    (body,) = asked
    assert body["url"] == "http://api.example/carriers/simulated-command/callbacks"
    assert (body["text"], body["from"], body["to"], body["shape"]) == ("Hi", FROM_TO[1], FROM_TO[3], "command")
    assert body["media"] == [{"content_type": "image/png", "data": "cG5n"}]


async def test_what_the_network_refuses_is_passed_on(tmp_path: Path) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        raise web.HTTPBadRequest(text="there is no account sim")

    async with serve_http([web.post("/control/inbound", refuse)]) as network:
        environment = {"CARILLON_SIMULATED_URL": network, "CARILLON_PUBLIC_URL": network}
        with pytest.raises(InvalidInput, match="no account sim"):
            await asyncio.to_thread(run, "call", *FROM_TO, **environment)
