"""What the contract tests do with a store, of either kind."""

from collections.abc import Sequence

from engine.carriers.port import Receipt
from engine.clock import real_now
from engine.dispatch.hints import Hint
from engine.dispatch.intent import Intent, IntentBatch
from engine.dispatch.settle import SettleResult, reports_of
from engine.dispatch.settling import view_of
from engine.ids import attempt_ref
from engine.rules.campaign import Action
from engine.rules.telephony import CarrierEvent, Channel, EventKind
from engine.simulation.port import CARRIER, Person, Steps
from engine.store.callbacks import Report as Callback
from tests.simulation.conftest import SMS, SMS_NUMBER, VOICE, VOICE_NUMBER

ANN, BOB = "+12135550101", "+12125550102"
NUMBERS = {VOICE_NUMBER: "+17145551011", SMS_NUMBER: "+17145551012"}


async def dial(steps: Steps, campaign_id: int, *phones: str) -> None:
    await steps.add_prospects(campaign_id, phones)
    await steps.move(campaign_id, Action.START)


async def hints_of(steps: Steps, campaign_id: int, number: int = VOICE_NUMBER) -> list[Hint]:
    """For everybody, whether due or not: the intent decides."""
    people = [each for each in (await steps.snapshot()).people if each.campaign_id == campaign_id]
    return [Hint(1, campaign_id, each.id, each.attempt, each.phone, number, NUMBERS[number]) for each in people]


async def call(steps: Steps, *phones: str) -> list[Intent]:
    await dial(steps, VOICE, *phones)
    return (await steps.commit_intents(await hints_of(steps, VOICE), Channel.VOICE)).granted


async def text(steps: Steps, phone: str) -> Intent:
    await dial(steps, SMS, phone)
    return (await steps.commit_intents(await hints_of(steps, SMS, SMS_NUMBER), Channel.SMS)).granted[0]


async def answer(steps: Steps, intent: Intent, receipt: Receipt) -> SettleResult:
    told, known = reports_of(receipt, intent.try_no), view_of(intent)
    return await steps.settle({intent.key: told}, {intent.key: known})


async def people(steps: Steps) -> list[Person]:
    return (await steps.snapshot()).people


async def counted(steps: Steps, campaign_id: int) -> dict[str, int]:
    return {name: n for name, n in (await steps.snapshot()).counts[campaign_id].items() if n}


def refusals(batch: IntentBatch) -> list[str]:
    return sorted(str(why) for _, why in batch.refused)


def callback_of(intent: Intent, kind: EventKind, key: str, **more: object) -> Callback:
    ref = attempt_ref(*intent.key)
    return Callback(CARRIER, CarrierEvent(kind, key, ref, "c1", real_now(), **more))  # type: ignore[arg-type]


def types(log: Sequence[tuple[int, str]]) -> list[str]:
    return [body.split('"type":"')[1].split('"')[0] for _, body in log]
