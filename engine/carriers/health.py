"""What a container's health check asks the simulated network and the agent."""

from aiohttp import web

PATH = "/healthz"


def route() -> web.RouteDef:
    return web.get(PATH, _alive)


async def _alive(request: web.Request) -> web.Response:  # noqa: ARG001 - aiohttp's signature
    """It answers: so the process lives, and its loop turns."""
    return web.json_response({"status": "ok"})
