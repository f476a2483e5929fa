"""`carillon sim text|call`: a person texts or calls one of your numbers, through the simulated network."""

import base64
import json
import mimetypes
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.embedded.accounts import kept_folder
from engine.errors import InvalidInput, Unavailable
from engine.processes.stack import SIM_FILE
from engine.rules.phone import is_e164

TIMEOUT_S = 10.0
_POLL_S = 0.05
_SHAPES = {"simulated-command": "command", "simulated-document": "document"}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

From = Annotated[str, typer.Option("--from", help="The person's number, E.164.")]
To = Annotated[str, typer.Option("--to", help="Your number, E.164.")]
Network = Annotated[str, typer.Option(envvar="CARILLON_SIMULATED_URL", help="Of the simulated network.")]
Api = Annotated[str, typer.Option(envvar="CARILLON_PUBLIC_URL", help="Of the api, as carriers reach it.")]
CarrierName = Annotated[str, typer.Option(envvar="CARILLON_TEST_CARRIER", help=" or ".join(_SHAPES))]
Folder = Annotated[Path, typer.Option(help="Of `carillon dev`, where both URLs are found.")]


@app.callback()
def group() -> None:
    """People on the simulated network. Finds it by the environment, or in the folder of `carillon dev`."""


@app.command()
def text(
    message: Annotated[str, typer.Argument(help="What they write.")] = "",
    from_: From = "+14155550147",
    to: To = "+14155559876",
    media: Annotated[list[str] | None, typer.Option(help="A file or URL; may be repeated. Makes it an MMS.")] = None,
    network: Network = "",
    api: Api = "",
    carrier: CarrierName = "simulated-command",
    folder: Folder = Path(".carillon"),
) -> None:
    """A text, or an MMS with --media."""
    files = [_media(each) for each in media or ()]
    if not message and not files:
        raise InvalidInput("give a message, or --media; carillon sim text --help shows how")
    _send({"channel": "sms", "text": message, "media": files}, from_, to, (network, api), carrier, folder)


@app.command()
def call(
    from_: From = "+14155550147",
    to: To = "+14155559876",
    network: Network = "",
    api: Api = "",
    carrier: CarrierName = "simulated-command",
    folder: Folder = Path(".carillon"),
) -> None:
    """A call, which rings until somebody takes it or its caller gives up."""
    _send({"channel": "voice"}, from_, to, (network, api), carrier, folder)


def _send(what: dict[str, object], from_: str, to: str, urls: tuple[str, str], carrier: str, folder: Path) -> None:
    """Prints the carrier's id once the api has taken it. Raises Unavailable, saying which of the two is not there."""
    for option, number in (("--from", from_), ("--to", to)):
        if not is_e164(number):
            raise InvalidInput(f"{option}: '{number[:40]}' is not an E.164 number such as +14155550123")
    if carrier not in _SHAPES:
        raise InvalidInput(f"--carrier: {carrier[:40]} is not one of {', '.join(_SHAPES)}")
    network, api = _find(*urls, folder)
    body = what | {
        "from": from_,
        "to": to,
        "shape": _SHAPES[carrier],
        "url": f"{api.rstrip('/')}/carriers/{carrier}/callbacks",
    }
    begun = _ask(network, "/control/inbound", body)
    name = str(begun["id"])
    status = _await_answer(network, name, begun["next"])
    if not 200 <= status < 300:
        raise Unavailable(f"the api at {api} {f'answered {status}' if status else 'did not answer'}; is it running?")
    print(f"{name}  {from_} → {to}  taken by {api}")


def _find(network: str, api: str, folder: Path) -> tuple[str, str]:
    if network and api:
        return network, api
    try:
        found = json.loads((kept_folder(folder) / SIM_FILE).read_text())
    except (OSError, ValueError):
        raise InvalidInput(
            f"no simulated network is known: start `carillon dev` here (it notes its own in {folder / SIM_FILE}),"
            " or set CARILLON_SIMULATED_URL and CARILLON_PUBLIC_URL"
        ) from None
    return network or str(found["network"]), api or str(found["api"])


def _await_answer(network: str, name: str, since: int) -> int:
    """The status of the first callback about it; 0 when none came in time."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        page = _ask(network, f"/control/log?since={since}")
        since = page["next"]
        for line in page["lines"]:
            if line["type"] == "callback" and line["carrier_id"] == name:
                return int(line["status"])
        time.sleep(_POLL_S)
    return 0


def _ask(network: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{network.rstrip('/')}{path}", data)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise InvalidInput(f"the simulated network refuses it: {error.read(300).decode('utf-8', 'replace')}") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"the simulated network at {network} does not answer ({error}); is it running?") from None


def _media(given: str) -> dict[str, str]:
    kind = mimetypes.guess_type(given)[0] or "application/octet-stream"
    if given.startswith(("http://", "https://")):
        return {"content_type": kind, "url": given}
    try:
        return {"content_type": kind, "data": base64.b64encode(Path(given).read_bytes()).decode()}
    except OSError as error:
        raise InvalidInput(f"--media: {given} cannot be read: {error.strerror}") from None
