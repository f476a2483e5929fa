"""The log of a webhook: one row per event that it was, or is to be, sent. The same rows are what is delivered from."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Conflict, NotFound
from engine.ids import encode
from engine.store import webhooks

_LAST = 2**63 - 1

_COLUMNS = """id, account_id, webhook_id, seq, event_type, status, attempts, response_code, error,
    nullif(next_attempt_at, '-infinity') as next_attempt_at, created_at, finished_at"""
_PAGE = text(f"""
    select {_COLUMNS} from webhook_deliveries
     where account_id = :account_id and webhook_id = :webhook_id and id < :before order by id desc limit :limit
""")
_AGAIN = text(f"""
    update webhook_deliveries d
       set status = 'pending', finished_at = null, give_up_at = now() + make_interval(secs => :give_up_s),
           next_attempt_at = case when :ordered then '-infinity'::timestamptz else now() end
     where id = :id and webhook_id = :webhook_id and account_id = :account_id
    returning {_COLUMNS}
""")
_ADD_TEST = text(f"""
    insert into webhook_deliveries (webhook_id, account_id, seq, event_type, body, status, attempts, response_code,
                                    error, give_up_at, created_at, finished_at)
    values (:webhook_id, :account_id, :seq, :event_type, :body, :status, 1, :response_code, :error, now(), now(), now())
    returning {_COLUMNS}
""")


@dataclass(frozen=True, slots=True)
class Delivery:
    id: int
    account_id: int
    webhook_id: int
    seq: int  # of the event in its account's log
    event_type: str
    status: str  # `pending`, `delivered`, `failed`
    attempts: int
    response_code: int | None  # of the last attempt; None when it got no answer
    error: str | None  # of the last attempt
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def public_id(self) -> str:
        return encode("log", self.id)


async def page(
    conn: AsyncConnection, account_id: int, webhook_id: int, limit: int, before: int | None = None
) -> list[Delivery]:
    """The newest first; `before` continues behind the last one of the page before. Raises NotFound for the webhook."""
    await webhooks.get(conn, account_id, webhook_id)
    params = {"account_id": account_id, "webhook_id": webhook_id, "limit": limit, "before": before or _LAST}
    return [Delivery(**row._mapping) for row in await conn.execute(_PAGE, params)]


async def redeliver(
    conn: AsyncConnection, account_id: int, webhook_id: int, delivery_id: int, give_up_s: float
) -> Delivery:
    """Makes it due now, whatever became of it. Raises NotFound, and Conflict while the webhook is not active."""
    webhook = await webhooks.get(conn, account_id, webhook_id)
    if not webhook.active:
        raise Conflict("the webhook is not active; PATCH it with active: true first", {"active": False})
    params = {"id": delivery_id, "webhook_id": webhook_id, "account_id": account_id}
    again = {"ordered": webhook.ordered, "give_up_s": give_up_s}
    row = (await conn.execute(_AGAIN, params | again)).one_or_none()
    if row is None:
        raise NotFound("this webhook's log has no such delivery")
    return Delivery(**row._mapping)


async def add_test(
    conn: AsyncConnection,
    webhook: webhooks.Webhook,
    seq: int,
    event_type: str,
    body: str,
    *,
    is_delivered: bool,
    response_code: int | None,
    error: str | None,
) -> Delivery:
    """Records a delivery that was made outside of the queue."""
    params = {
        "webhook_id": webhook.id,
        "account_id": webhook.account_id,
        "seq": seq,
        "event_type": event_type,
        "body": body,
        "status": "delivered" if is_delivered else "failed",
        "response_code": response_code,
        "error": error,
    }
    return Delivery(**(await conn.execute(_ADD_TEST, params)).one()._mapping)
