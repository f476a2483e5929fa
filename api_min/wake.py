"""Tells the coordinators that a campaign has work now, instead of at their next look."""

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.ids import encode

log = structlog.get_logger(__name__)

LIST = "carillon:wake"
_MOST = 10_000  # nobody listening: the list must not grow for ever


async def wake(redis: Redis, campaign_id: int) -> None:
    """A hint only: lost ones cost the coordinator's poll interval (P8)."""
    try:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.rpush(LIST, campaign_id)
            pipe.ltrim(LIST, -_MOST, -1)
            await pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("wake.lost", campaign=encode("camp", campaign_id), error=str(error))
