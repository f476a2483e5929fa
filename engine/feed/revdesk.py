"""The RevDesk dialect (reference 002): texts that came in, and nothing else."""

from dataclasses import dataclass

import orjson

from engine.feed import frames
from engine.feed.dialect import Encoded
from engine.rules.events import Owner, owner_of

_RECEIVED = "sms.received"


class RevDesk:
    """Server-sent events `sms_received`; each stream begins with `connected`."""

    name = "revdesk"
    heartbeat = frames.HEARTBEAT
    truncated = staticmethod(frames.truncated)
    reset = staticmethod(frames.reset)

    @staticmethod
    def encode(account_id: int, seq: int, line: bytes) -> Encoded:  # noqa: ARG004 — the same for every account
        """The SSE frame of one canonical event. Raises ValueError, KeyError, TypeError for others."""
        event = orjson.loads(line)
        if event["type"] != _RECEIVED:
            return Encoded(seq, "", b"")
        return Encoded(seq, "sms_received", frames.encode("sms_received", message(event), seq), owner_of(event))


@dataclass(frozen=True, slots=True)
class Numbers:
    """A filter: texts to the numbers of a user and of the team, by public id; both empty: of the whole account.

    With a user, the numbers of the team are those that are the team's own: the personal ones of a colleague are not.
    """

    user: str = ""
    team: str = ""

    @property
    def types(self) -> tuple[str, ...]:
        return (_RECEIVED,)

    def wants(self, event: Encoded) -> bool:
        return self.owns(event.owner)

    def owns(self, owner: Owner | None) -> bool:
        if not self.user and not self.team:
            return True
        if owner is None:
            return False
        if self.user and owner.user:
            return owner.user == self.user
        return bool(self.team) and owner.team == self.team


def message(event: dict[str, object]) -> dict[str, object]:
    """`{message_id, from, to, body, received_at}` of a decoded `sms.received`."""
    payload = event["payload"]
    if not isinstance(payload, dict):
        raise TypeError("the payload of sms.received is an object")
    return {
        "message_id": payload["id"],
        "from": payload["from"],
        "to": payload["to"],
        "body": payload["message"],
        "received_at": payload["created_at"],
    }


def connected(client_id: str, at_ms: int, cursor: int, retry_ms: int) -> bytes:
    """The first frame of a stream that goes on after event `cursor`.

    Its id is that cursor: who is disconnected before the first text, as happens every five minutes, then resumes here
    and misses none; and a client that resumes keeps the id that it came with.
    """
    return frames.encode("connected", {"clientId": client_id, "timestamp": at_ms}, cursor, retry_ms)
