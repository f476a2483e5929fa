"""A step's result in one line, the same whichever store it came from."""

from engine.coordinator.shard import Claim
from engine.dispatch.intent import IntentBatch
from engine.dispatch.settle import SettleResult
from engine.rules.telephony import Command


def brief(result: object) -> str:
    if isinstance(result, IntentBatch):
        return _intents(result)
    if isinstance(result, SettleResult):
        return _settled(result)
    if isinstance(result, list):
        return "[" + ", ".join(map(_item, result)) + "]"
    if isinstance(result, dict):
        return "{" + ", ".join(f"{each}: {result[each]}" for each in sorted(result)) + "}"
    if isinstance(result, Command):
        return f"{result.kind} #{result.number}"
    return str(result)


def _item(item: object) -> str:
    if isinstance(item, Claim):
        return f"{[tuple(due) for due in item.due]} next {item.next_due_s}"
    if isinstance(item, tuple) and len(item) == 2 and hasattr(item[0], "prospect_id"):
        command = item[0].command and sorted(item[0].command.items(), key=str)  # jsonb has an order of its own
        return f"{item[0]._replace(command=None)} {command and [part for part in command if part[0] != 'agent']}"
    return repr(tuple(item)) if isinstance(item, tuple) else repr(item)


def _intents(batch: IntentBatch) -> str:
    granted = [
        (each.hint.prospect_id, each.hint.attempt, each.try_no, each.hint.did_id, each.intent_at.isoformat(),
         each.not_after.isoformat(), each.message)
        for each in batch.granted
    ]  # fmt: skip
    refused = [(hint.prospect_id, hint.attempt, str(why)) for hint, why in batch.refused]
    return f"granted {granted} refused {sorted(refused)}"


def _settled(result: SettleResult) -> str:
    commands = [(each.ref, each.command["kind"], each.command["number"]) for each in result.commands]
    released, unmatched = [tuple(key) for key in result.released], sorted(tuple(key) for key in result.unmatched)
    ended = {(channel.value, outcome): count for (channel, outcome), count in result.ended.items()}
    return (
        f"commands {commands} released {released} paused {result.paused} unmatched {unmatched}"
        f" ended {sorted(ended.items())}"
    )
