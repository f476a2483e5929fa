"""One-off contacts: what every store of a simulation must do with them."""

from datetime import timedelta

from engine.carriers.port import Outcome, Receipt
from engine.coordinator.shard import Walk
from engine.dispatch.hints import Hint
from engine.dispatch.settle import SettleResult
from engine.dispatch.watch import needs_lookup
from engine.rules.prospect import Outcome as End
from engine.rules.prospect import ProspectState
from engine.rules.telephony import CarrierError, Channel, EndReason, EventKind, Fault
from engine.simulation.port import CARRIER, DOCUMENT_CARRIER, TEXT, Kept, Request, Steps
from engine.simulation.timeline import VirtualTime
from engine.store.callbacks import Report as Callback
from tests.simulation.conftest import SMS_NUMBER, VOICE
from tests.simulation.contract import ANN, BOB, NUMBERS, answer, callback_of, counted, people, refusals, text, types

TEXT_TO_ANN = Request(1, Channel.SMS, ANN, NUMBERS[SMS_NUMBER], "order 1")
TEXT_TO_BOB = TEXT_TO_ANN._replace(phone=BOB)
CALL_TO_ANN = Request(1, Channel.VOICE, ANN, NUMBERS[SMS_NUMBER], "order 2", is_ai=True, longest_s=60)


async def ask_text(steps: Steps, asked: Request) -> Kept:
    return await steps.queue_text(asked, steps.clock.now())


async def hint_of(steps: Steps, kept: Kept, *, is_text: bool = True) -> Hint:
    (person,) = [each for each in await people(steps) if each.id == kept.prospect_id]
    return Hint(1, kept.campaign_id, person.id, person.attempt, person.phone, SMS_NUMBER, NUMBERS[SMS_NUMBER], is_text)


async def test_a_named_request_is_one_contact_however_often_it_comes(steps: Steps) -> None:
    first = await ask_text(steps, TEXT_TO_ANN)
    assert await ask_text(steps, TEXT_TO_ANN) == first
    others = [await ask_text(steps, TEXT_TO_ANN._replace(name=name)) for name in ("another", "", "")]
    assert len({first, *others}) == 4
    (home,) = (await steps.snapshot()).directs
    assert (home.account_id, home.channel, home.carrier, home.status) == (1, Channel.SMS, CARRIER, "dialing")
    assert await counted(steps, home.id) == {"total": 4, "queued": 4}
    assert {(each.phone, each.next_at) for each in await people(steps)} == {(ANN, steps.clock.now().isoformat())}


async def test_after_a_change_of_carrier_a_repeat_is_the_old_contact_and_others_go_over_the_new_one(
    steps: Steps,
) -> None:
    first = await ask_text(steps, TEXT_TO_ANN)
    assert (await ask_text(steps, TEXT_TO_ANN._replace(carrier=DOCUMENT_CARRIER))).prospect_id == first.prospect_id
    other = await ask_text(steps, TEXT_TO_BOB._replace(carrier=DOCUMENT_CARRIER))
    homes = {each.id: each.carrier for each in (await steps.snapshot()).directs}
    assert homes == {first.campaign_id: CARRIER, other.campaign_id: DOCUMENT_CARRIER}
    assert [each.campaign_id for each in await people(steps)] == [first.campaign_id, other.campaign_id]


async def test_each_channel_and_account_has_a_home_of_its_own(steps: Steps) -> None:
    call = CALL_TO_ANN._replace(carrier=DOCUMENT_CARRIER)
    home = await steps.direct(call, steps.clock.now())
    assert await steps.direct(call, steps.clock.now()) == home
    called = await steps.create_call(call, steps.clock.now())
    await ask_text(steps, TEXT_TO_ANN)
    await ask_text(steps, TEXT_TO_ANN._replace(account_id=2, number="+17145551021"))
    directs = (await steps.snapshot()).directs
    assert [(each.account_id, each.channel) for each in directs] == [(1, "voice"), (1, "sms"), (2, "sms")]
    assert directs[0].carrier == DOCUMENT_CARRIER
    assert [each.campaign_id for each in await people(steps) if each.id == called] == [home]
    assert [each.id for each in await steps.active()] == [each.id for each in directs]
    assert (await steps.snapshot()).campaigns[0] == (VOICE, "created", "")


async def test_a_claim_knows_from_which_number_and_looks_back_when_it_is_woken(steps: Steps, time: VirtualTime) -> None:
    first = await ask_text(steps, TEXT_TO_ANN)
    (home,) = await steps.active()
    walk = Walk(home, 1)
    (claim,) = await steps.claim([(walk, 9)])
    assert [(due.prospect_id, due.sender, due.data) for due in claim.due] == [
        (first.prospect_id, TEXT_TO_ANN.number, None)
    ]
    stamped = steps.clock.now() - timedelta(seconds=1)
    time.now_us += 1_000_000
    late = await steps.queue_text(TEXT_TO_BOB, stamped)
    walk.cursor = claim.cursor
    assert [(each.due, each.cursor) for each in await steps.claim([(walk, 9)])] == [([], claim.cursor)]
    walk.begin_again()
    (again,) = await steps.claim([(walk, 9)])
    assert [due.prospect_id for due in again.due] == [late.prospect_id, first.prospect_id]
    assert [due.sender for due in await steps.read_due(home, [late.prospect_id])] == [TEXT_TO_BOB.number]
    time.now_us += 9_000_000
    (forgotten,) = await steps.claim([(walk, 9)])
    assert forgotten.due == []  # it looked back three seconds; the rescue knows of those
    walk.cursor = again.cursor
    assert list((await steps.queued_behind([walk]))[home.id]) == [late.prospect_id, first.prospect_id]


async def test_a_one_off_text_holds_no_sender_and_is_never_tried_again(steps: Steps) -> None:
    kept = await ask_text(steps, TEXT_TO_ANN)
    hint = await hint_of(steps, kept)
    unlike = await steps.commit_intents([hint._replace(is_one_off_text=False)], Channel.SMS)
    assert refusals(unlike) == ["out_of_date"]
    campaigns_text = await text(steps, BOB)
    (intent,) = (await steps.commit_intents([hint], Channel.SMS)).granted
    assert intent.message is not None
    assert intent.message.text == TEXT
    assert refusals(await steps.commit_intents([hint], Channel.SMS)) == ["out_of_date"]
    failed = Receipt(Outcome.REJECTED, error=CarrierError(Fault.TRANSIENT, "503", "unavailable", retryable=True))
    await answer(steps, intent, failed)
    end = await steps.snapshot()
    assert end.free_s[SMS_NUMBER] == float("inf")  # the campaign's text holds it still
    (ann,) = [each for each in end.people if each.id == kept.prospect_id]
    assert (ann.state, ann.attempt, ann.outcome, ann.next_at) == (ProspectState.COMPLETED, 1, End.FAILED, "infinity")
    assert not await steps.complete(kept.campaign_id)
    await answer(steps, campaigns_text, failed)
    assert (await steps.snapshot()).free_s[SMS_NUMBER] < float("inf")


async def test_after_an_opt_out_a_one_off_text_is_cancelled(steps: Steps) -> None:
    hint = await hint_of(steps, await ask_text(steps, TEXT_TO_ANN))
    await steps.opt_out(1, ANN)
    assert refusals(await steps.commit_intents([hint], Channel.SMS)) == ["suppressed"]
    (ann,) = await people(steps)
    assert (ann.state, ann.reason, ann.next_at) == (ProspectState.CANCELLED, "suppressed", "infinity")
    assert await steps.number("a") == 1
    assert types((await steps.snapshot()).events[1]) == ["sms.failed"]


async def test_a_one_off_call_is_what_its_request_says(steps: Steps, time: VirtualTime) -> None:
    home = await steps.direct(CALL_TO_ANN, steps.clock.now())
    kept = Kept(home, await steps.create_call(CALL_TO_ANN, steps.clock.now()))
    hint = await hint_of(steps, kept, is_text=False)
    (intent,) = (await steps.commit_intents([hint], Channel.VOICE)).granted
    result = await hear(steps, callback_of(intent, EventKind.ANSWERED, "k1"))
    (order,) = result.commands
    assert order.command["agent"]["params"] == {"systemPrompt": CALL_TO_ANN.parameters["systemPrompt"]}
    time.now_us += 80_000_000  # its minute is over, and nothing was heard of its end
    ((view, campaign),) = await steps.due_attempts([intent.key])
    assert needs_lookup(view, campaign, steps.clock.now())
    ended = callback_of(intent, EventKind.CALL_ENDED, "k2", end=EndReason.COMPLETED, duration_s=60)
    await hear(steps, ended)
    assert (await steps.snapshot()).used == {(1, intent.intent_at.date(), "voice.ai"): 60}


async def hear(steps: Steps, callback: Callback) -> SettleResult:
    return await steps.settle_callbacks(await steps.receive([callback]))
