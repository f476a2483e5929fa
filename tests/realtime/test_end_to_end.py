"""From a carrier's reports, through the settling transaction and the relay, to the owner of the number."""

import orjson
from redis.asyncio import Redis

from engine.clock import Clock
from engine.dispatch.settle import settle
from engine.feed.hub import Hub
from engine.feed.relay import Relay
from engine.feed.teletracker import ACCOUNT_EVENTS, USER_EVENTS, Topics
from engine.ids import attempt_ref, encode
from engine.rules import reports
from engine.rules.telephony import Amd, CarrierError, EndReason, EventKind, Fault
from engine.store import dids, lines, teams, users
from tests.dispatch.attempts import context, heard, reserve
from tests.dispatch.conftest import World, world
from tests.feed.conftest import Client

__all__ = ["world"]

NUMBER = "+12135550100"


async def assign(world: World, line_id: int | None) -> None:
    async with world.db.begin() as conn:
        did = await dids.lock(conn, world.account_id, NUMBER)
        assert did is not None
        await dids.change(conn, did, "", line_id)


async def test_a_calls_topics_reach_the_owner_of_its_number_as_it_was(world: World, clock: Clock, redis: Redis) -> None:
    """The number is Ann's, then Bob's. A call that was never placed has no topics at all."""
    await world.did(NUMBER)
    async with world.db.begin() as conn:
        team = await teams.add(conn, world.account_id, "Support")
        ann = await users.add(conn, world.account_id, "Ann", team.id)
        bob = await users.add(conn, world.account_id, "Bob", team.id)
        own = [await lines.add(conn, world.account_id, "direct", user.id) for user in (ann, bob)]
    campaign = await world.campaign(phones=["+12125550100", "+12125550101"])
    answered, refused = await reserve(world, campaign, clock)
    relay = Relay(world.db, redis, keep=100)
    async with Hub(world.db, redis) as hub:
        clients = {name: Client() for name in ("ann", "bob", "team", "account")}
        public = {"ann": encode("user", ann.id), "bob": encode("user", bob.id)}
        for name, user in public.items():
            await hub.subscribe(world.account_id, clients[name], USER_EVENTS, Topics(user=user), None)
        wish = Topics(team=encode("team", team.id))
        await hub.subscribe(world.account_id, clients["team"], USER_EVENTS, wish, None)
        await hub.subscribe(world.account_id, clients["account"], ACCOUNT_EVENTS, Topics(), "0")

        await assign(world, own[0].id)
        await settle(world.db, {answered: [reports.accepted(1, "c1")]}, context(clock))
        refusal = reports.rejected(1, CarrierError(Fault.INVALID_NUMBER, "21211"))
        await settle(world.db, {refused: [refusal]}, context(clock))
        await settle(world.db, {answered: [heard(answered, EventKind.ANSWERED)]}, context(clock))
        await assign(world, own[1].id)
        ends = [
            heard(answered, EventKind.AMD, amd=Amd.HUMAN),
            heard(answered, EventKind.CALL_ENDED, end=EndReason.COMPLETED, duration_s=30),
        ]
        await settle(world.db, {answered: ends}, context(clock))
        while await relay.run_once():
            pass
        await hub._tails.refresh(await hub._tails.get(world.account_id))

    heard_by = {name: [orjson.loads(line) for line in client.data.splitlines()] for name, client in clients.items()}
    steps = {name: [event["eventName"] for event in events] for name, events in heard_by.items()}
    whole = ["start", "answer", "end"]
    assert steps == {"ann": whole[:2], "bob": whole[2:], "team": whole, "account": whole}
    for event in heard_by["account"]:
        assert event["trackingId"] == event["uniqueId"] == attempt_ref(*answered)
        assert event["data"]["id"] == encode("call", answered.prospect_id)
    assert {event["lineId"] for event in heard_by["team"]} == {encode("line", line.id) for line in own}
