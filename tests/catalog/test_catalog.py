"""The catalog against the references, the source, and what the engine really tells."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from engine.rules import stats
from engine.rules.event_catalog import BY_TYPE, CHANNEL_SUMMARIES, EVENTS, CatalogEvent
from engine.rules.event_payloads import Stats
from engine.rules.events import CHANNELS
from engine.rules.topics import ALL, TOPICS

ROOT = Path(__file__).parents[2]

# Reference 000, by channel, with the fields of its example envelope.
TRUNX = {
    "sms": {"sms.sent", "sms.received", "sms.delivered", "sms.failed"},
    "voice": {
        "voice.initiated",
        "voice.ai.initiated",
        "voice.inbound",
        "voice.answered",
        "voice.completed",
        "voice.ai.completed",
        "voice.failed",
        "voice.amd",
        "voice.dtmf",
    },
    "campaign": {
        "campaign.call.initiated",
        "campaign.call.voicemail",
        "campaign.call.human_connected",
        "campaign.call.human_hangup",
        "campaign.call.no_answer",
        "campaign.call.busy",
        "campaign.call.failed",
        "campaign.prospect.dnc",
        "campaign.stats.updated",
        "campaign.paused.no_dids",
    },
    "did": {"did.purchased", "did.released", "did.state_changed"},
    "billing": {"billing.usage"},
}
# Ours, in channels of the reference.
MORE = {
    "reputation": {"reputation.flagged", "reputation.cleared"},
    "sms": {"sms.opt_out"},
    "webhook": {"webhook.delivered", "webhook.failed"},
}

# Reference 001.
TELETRACKER = {
    "voice.incoming.start",
    "voice.incoming.answer",
    "voice.incoming.end",
    "voice.outgoing.start",
    "voice.outgoing.answer",
    "voice.outgoing.end",
    "voice.internal.start",
    "voice.internal.answer",
    "voice.internal.end",
    "voice.originate.start",
    "voice.originate.answer",
    "voice.originate.end",
    "voice.callconfirm.start",
    "voice.callconfirm.acceptcall",
    "voice.callconfirm.rejectcall",
    "voice.incoming.agentpin-prompt",
    "voice.incoming.agentpin-valid",
    "voice.incoming.agentpin-timeout",
    "messaging.incoming.sms",
    "messaging.outgoing.sms",
    "messaging.incoming.mms",
    "messaging.outgoing.mms",
    "messaging.update.opt-out",
}

REQUIRED = {
    "sms.sent": {"id", "from", "to", "status"},
    "sms.received": {"id", "from", "to", "message", "direction", "created_at"},
    "voice.inbound": {"id", "from", "to", "status"},
    "voice.completed": {"id", "from", "to", "status", "durationS"},
    "campaign.call.no_answer": {"id", "campaignId", "prospectId", "from", "to", "status"},
    "campaign.stats.updated": {"id", "stats"},
    "billing.usage": {"meter", "quantity", "day", "total"},
    "webhook.failed": {"webhookId", "deliveryId", "event", "eventId", "attempts", "responseCode"},
    "sms.opt_out": {"phone", "from", "to", "messageId", "keyword"},
}


def test_each_event_of_the_trunx_reference_is_there_and_only_those_named_here_besides() -> None:
    found: dict[str, set[str]] = {}
    for event in EVENTS:
        if event.channel:
            found.setdefault(event.channel, set()).add(event.name)
    assert found == {channel: TRUNX.get(channel, set()) | MORE.get(channel, set()) for channel in found}
    assert TRUNX.keys() <= found.keys()
    assert tuple(CHANNEL_SUMMARIES) == CHANNELS


def test_each_topic_of_the_teletracker_reference_has_a_cause_and_no_other_exists() -> None:
    assert {topic for event in EVENTS for topic in event.topics} == TELETRACKER == ALL
    assert TOPICS.keys() <= BY_TYPE.keys()
    assert {event.name for event in EVENTS if not event.channel} == {name for name in TOPICS if "call." in name[:5]}


def test_no_name_is_listed_twice() -> None:
    assert len(BY_TYPE) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_the_example_is_one(event: CatalogEvent) -> None:
    event.payload.model_validate(orjson.loads(orjson.dumps(event.example)))
    with pytest.raises(ValidationError):
        event.payload.model_validate(event.example | {"unheardOf": 1})


@pytest.mark.parametrize("name", REQUIRED)
def test_required_fields(name: str) -> None:
    fields: dict[str, Any] = BY_TYPE[name].payload.model_fields
    required = {field.alias or key for key, field in fields.items() if field.is_required()}
    assert REQUIRED[name] <= required
    assert REQUIRED[name] <= BY_TYPE[name].example.keys()


def test_stats_have_the_counters_of_the_engine() -> None:
    wire = stats.wire(dict.fromkeys(stats.COUNTERS, 0))
    renamed = {field.alias or key for key, field in Stats.model_fields.items()}
    assert renamed == wire.keys()


@pytest.mark.parametrize("event", [event for event in EVENTS if event.cause], ids=lambda event: event.name)
def test_the_module_named_as_its_cause_names_it(event: CatalogEvent) -> None:
    found = find_spec(event.cause)
    assert found is not None
    assert found.origin is not None
    assert f'"{event.name}"' in Path(found.origin).read_text("utf-8")


def test_what_the_source_makes_is_in_the_catalog_with_its_cause() -> None:
    made = re.compile(r'(?:\bEvent\(\s*(?:type=)?|\.emit\(\s*)"([a-z_.]+)"')
    names = {name for path in sorted(ROOT.glob("engine/**/*.py")) for name in made.findall(path.read_text("utf-8"))}
    assert len(names) >= 10
    assert {name for name in names if name not in BY_TYPE or not BY_TYPE[name].cause} == set()
