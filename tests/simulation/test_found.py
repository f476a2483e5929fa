"""What the simulation has found, as the shortest script that showed it; and that a failing script shrinks."""

from dataclasses import replace

from engine.rules.telephony import Channel
from engine.simulation.memory import MemorySteps
from engine.simulation.port import Account, Number, Plan
from engine.simulation.runner import report
from engine.simulation.script import STARTS, Contact, Deed, Fault, Script, write
from engine.simulation.shrink import shrink
from engine.simulation.world import play

ANN = "+12135550100"
CALL = Script(
    seed=1,
    start=STARTS[0],
    speed=1.0,
    is_authoritative=True,
    accounts=(Account(1),),
    numbers=(Number(10, 1, "+17145551010"),),
    campaigns=(Plan(100, 1, Channel.VOICE, {}),),
    contacts=(Contact(100, ANN, ("busy",)),),
    deeds=(Deed(0.1, "start", "100"),),
)


async def test_a_clock_set_forward_while_a_create_is_in_the_air_calls_nobody_twice() -> None:
    """The watch looked at once, was told that the carrier has nothing, and released what arrived a moment later."""
    slow = Fault("create.slow", ANN, 1)
    for jump_s in (15.0, 3_600.0):
        history = await play(replace(CALL, faults=(slow, Fault("clock.real", "3.000", 1, jump_s))), MemorySteps)
        assert history.problems == []
        assert len(history.accepted) == 1


async def test_a_create_that_the_carrier_reads_late_is_not_sent_again() -> None:
    """It lay in the socket of a carrier that had too much to do, and a look-up on another connection found nothing."""
    looks = (Deed(23.3, "pause", "100"), Deed(24.0, "resume", "100"))  # a simulated coordinator looks when stirred
    unread = Fault("create.unread", ANN, 1)
    silent = (Contact(100, ANN, ("mute",)),)
    script = replace(CALL, contacts=silent, deeds=(*CALL.deeds, *looks), faults=(unread,))
    history = await play(script, MemorySteps)
    assert history.problems == []
    assert len(history.accepted) == 1
    assert "lookup 1-1: found" in "".join(history.lines)


async def test_a_clock_set_forward_hides_no_open_ticket_from_a_pause() -> None:
    """The pause was answered at once, and a create followed."""
    for jump_s in (15.0, 3_600.0):
        script = replace(
            CALL, deeds=(*CALL.deeds, Deed(1.5, "pause", "100")), faults=(Fault("clock.real", "1.490", 1, jump_s),)
        )
        history = await play(script, MemorySteps)
        assert history.problems == []
        text = "".join(history.lines)
        assert text.index(" send 1-1 ") < text.index("is answered to be still")


async def test_nobody_is_given_up_whose_create_may_still_begin() -> None:
    """The watch found him waiting for an hour, by a clock that was set forward, and the pause was answered."""
    history = await play(write(830), MemorySteps)
    assert history.problems == []
    assert "lookup 5-1: absent" in "".join(history.lines)


async def test_a_campaign_that_nobody_starts_forgets_nobody() -> None:
    """A shortened script without its start seemed to break P1."""
    assert (await play(replace(CALL, deeds=()), MemorySteps)).problems == []


async def test_a_script_shrinks_to_the_entries_that_matter() -> None:
    script = write(4)
    wanted = script.faults[len(script.faults) // 2]

    async def fails(some: Script) -> bool:
        return wanted in some.faults and len(some.contacts) >= 2

    short = await shrink(script, fails)
    assert (short.faults, len(short.contacts), short.deeds) == ((wanted,), 2, ())
    assert short.campaigns == script.campaigns


async def test_a_report_tells_the_script_and_what_happened() -> None:
    told = "\n".join(report(await play(CALL, MemorySteps)))
    for what in ("seed 1: from 2026-03-11", "contact (100, '+12135550100'", "start 100", "send 1-1 try 1: accepted"):
        assert what in told
    assert "number 0" not in told
