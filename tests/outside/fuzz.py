"""The same targets under atheris, which looks for new paths: `python -m tests.outside.fuzz csv -runs=1000000`.

What fails is written to the folder for temporary files, unless `-artifact_prefix=` says where; with the name of such a
file instead of `-runs=`, it is tried again and nothing else.
atheris is no dependency of the suite: `pip install atheris` first (it has wheels for CPython on Linux x86-64).
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from hypothesis.errors import NonInteractiveExampleWarning
from hypothesis.strategies import SearchStrategy

try:
    import atheris
except ImportError:
    sys.exit("atheris is missing: pip install atheris")

with atheris.instrument_imports(include=["engine", "api_min"]):
    import orjson

    from tests.outside import callback_bodies, targets
    from tests.outside import strategies as outside

    ADAPTERS = targets.carriers()  # imports them


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# What is tried, and what its first inputs are drawn from: no path leads from nothing to a signed report in JSON.
TARGETS: Mapping[str, tuple[Callable[[bytes], None], SearchStrategy[Any]]] = {
    "callbacks": (
        lambda data: [targets.check_callback(each, data, {}) for each in ADAPTERS.values()] and None,
        callback_bodies.bodies,
    ),
    "csv": (lambda data: targets.check_csv(data, [len(data) // 3, len(data) // 2]), outside.csv_files),
    "phones": (lambda data: targets.check_phone(_text(data), "US"), outside.phones),
    "event-ids": (lambda data: targets.check_event_id(_text(data)), outside.event_ids),
    "cursors": (lambda data: targets.check_cursor("camp", _text(data), None), outside.public_ids),
    "socket": (lambda data: targets.check_socket_message(_text(data)), outside.socket_messages),
    "templates": (
        lambda data: targets.check_template(_text(data), {"first_name": _text(data[:20])}),
        outside.template_texts,
    ),
    "uploads": (
        lambda data: targets.check_upload(data, [len(data) // 2], "multipart/form-data; boundary=x"),
        outside.multipart,
    ),
    "json": (lambda data: targets.check_json(data, "application/json"), outside.json_bodies),
    "campaigns": (lambda data: targets.check_campaign(_parsed(data)), outside.campaigns.map(outside.as_json)),
    "urls": (lambda data: targets.check_url(_text(data)), outside.urls),
    "retry-after": (lambda data: targets.check_retry_after(_text(data)), outside.retry_afters),
}
_FIRST = 300


def _write_first(folder: str, drawn_from: SearchStrategy[Any]) -> None:
    warnings.simplefilter("ignore", NonInteractiveExampleWarning)
    for number in range(_FIRST):
        example = drawn_from.example()
        data = example if isinstance(example, bytes) else str(example).encode("utf-8", "replace")
        Path(folder, str(number)).write_bytes(data)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name a target, one of {', '.join(TARGETS)}; then libFuzzer's options, such as -runs=1000000")
    target, drawn_from = TARGETS[sys.argv.pop(1)]
    options = [sys.argv[0], f"-artifact_prefix={gettempdir()}/", *sys.argv[1:]]
    with TemporaryDirectory() as folder:
        if all(option.startswith("-") for option in options[1:]):
            _write_first(folder, drawn_from)
            options.append(folder)
        atheris.Setup(options, target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
