"""The api's client in these measurements: one kept connection, no library between us and the answer."""

import http.client
from collections.abc import Mapping
from typing import IO, Self

import orjson

from engine.errors import Unavailable

TIMEOUT_S = 600.0


class Client:
    def __init__(self, host: str, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {key}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def get(self, path: str) -> dict[str, object]:
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: IO[bytes] | None = None, length: int = 0) -> dict[str, object]:
        """`body` is a CSV file of `length` bytes; without one the request has none."""
        headers = {"Content-Type": "text/csv", "Content-Length": str(length)} if body else {}
        return self._ask("POST", path, body, headers)

    def _ask(self, method: str, path: str, body: IO[bytes] | None, headers: Mapping[str, str]) -> dict[str, object]:
        self._connection.request(method, path, body, {**self._headers, **headers})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= http.client.BAD_REQUEST:
            raise Unavailable(f"{method} {path} answered {response.status}: {answer[:300].decode(errors='replace')}")
        found: dict[str, object] = orjson.loads(answer)
        return found
