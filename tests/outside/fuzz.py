"""The same targets under atheris, which looks for new paths: `python -m tests.outside.fuzz csv -runs=1000000`.

What fails is written to the folder for temporary files, unless `-artifact_prefix=` says where.
atheris is no dependency of the suite: `pip install atheris` first (it has wheels for CPython on Linux x86-64).
"""

import sys
from collections.abc import Callable, Mapping
from tempfile import gettempdir
from typing import Any

try:
    import atheris
except ImportError:
    sys.exit("atheris is missing: pip install atheris")

with atheris.instrument_imports(include=["engine", "api_min"]):
    import orjson

    from tests.outside import targets

ADAPTERS = targets.carriers()


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "callbacks": lambda data: [targets.check_callback(each, data, {}) for each in ADAPTERS.values()] and None,
    "csv": lambda data: targets.check_csv(data, [len(data) // 3, len(data) // 2]),
    "phones": lambda data: targets.check_phone(_text(data), "US"),
    "event-ids": lambda data: targets.check_event_id(_text(data)),
    "cursors": lambda data: targets.check_cursor("camp", _text(data), None),
    "socket": lambda data: targets.check_socket_message(_text(data)),
    "templates": lambda data: targets.check_template(_text(data), {"first_name": _text(data[:20])}),
    "uploads": lambda data: targets.check_upload(data, [len(data) // 2], "multipart/form-data; boundary=x"),
    "json": lambda data: targets.check_json(data, "application/json"),
    "campaigns": lambda data: targets.check_campaign(_parsed(data)),
    "urls": lambda data: targets.check_url(_text(data)),
    "retry-after": lambda data: targets.check_retry_after(_text(data)),
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name a target, one of {', '.join(TARGETS)}; then libFuzzer's options, such as -runs=1000000")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={gettempdir()}/", *sys.argv[1:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
