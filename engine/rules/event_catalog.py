"""Every event: its name, what it tells of, its payload's model, an example, and where it is caused.

One list for all dialects. An event without a cause is one that a part of the engine to come will cause; its payload and
its names are settled already. A test compares causes and names with the source and with references 000 and 001.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.rules import event_payloads as p
from engine.rules.events import CHANNELS, channel_of
from engine.rules.topics import TOPICS

Example = dict[str, object]

CHANNEL_SUMMARIES = {
    "sms": "Messages sent, received, delivered and failed",
    "voice": "Calls from their start to their end",
    "campaign": "What campaigns did and what became of their prospects",
    "did": "Numbers bought, released and changed",
    "ivr": "Sessions of voice menus; none of their events has a name yet",
    "billing": "Usage",
    "webhook": "What became of webhook deliveries; never itself sent to webhooks",
    "reputation": "Labels that analytics engines put on numbers",
}


@dataclass(frozen=True, slots=True)
class CatalogEvent:
    name: str
    summary: str
    payload: type[p.Payload]
    example: Example
    cause: str = ""  # the module that makes it; empty: nothing does so far
    revdesk: str = ""  # its name on the RevDesk stream, where it has one

    @property
    def channel(self) -> str | None:
        """Of the Trunx stream, which drops an event without one."""
        channel = channel_of(self.name)
        return channel if channel in CHANNELS else None

    @property
    def topics(self) -> tuple[str, ...]:
        return TOPICS.get(self.name, ())


_SMS, _CALL, _END = "engine.rules.sms_flow", "engine.rules.call_flow", "engine.rules.call_end"
_INBOUND = "engine.dispatch.inbound"
_TRADE = "engine.store.did_trade"
_WEBHOOKS = "engine.webhooks.record"
_CONTACT: Example = {
    "attempt": 1,
    "campaignId": "camp_059rcwamerv0j",
    "prospectId": "pros_0000000000002",
    "from": "+19495551000",
    "to": "+14155550123",
}
_MESSAGE: Example = {"id": "msg_0000000000002", **_CONTACT}
_ATTEMPT: Example = {"id": "call_0000000000002", **_CONTACT}
_DIALLED: Example = {**_ATTEMPT, "status": "initiated"}
_ANSWERED: Example = {**_ATTEMPT, "status": "answered"}
_ENDED: Example = {**_ATTEMPT, "status": "completed", "outcome": "human_connected", "amd": "human", "durationS": 42}
_RETRIED: Example = {**_ATTEMPT, "reason": "no_answer", "nextAttemptAt": "2026-03-11T22:00:00Z"}
_UNANSWERED: Example = {**_RETRIED, "status": "no_answer", "outcome": "no_answer"}
_LEG: Example = {"id": "call_0000000000003", "from": "+14155550123", "to": "+19495551000"}
_PARTS: Example = {"segments": 1, "encoding": "GSM-7"}
_DID: Example = {"id": "did_059rcwamerv0j", "number": "+19495551000"}
_DELIVERY: Example = {
    "webhookId": "whk_059rcwamerv0j",
    "deliveryId": "log_0000000000007",
    "event": "sms.sent",
    "eventId": "evt_000000000000100000000000009",
    "attempts": 1,
}
_STATS: Example = dict.fromkeys((field.alias or name for name, field in p.Stats.model_fields.items()), 0)

_E = CatalogEvent

_SMS_EVENTS = (
    _E("sms.sent", "The carrier took a message", p.SmsSent, _MESSAGE | {"status": "sent", "carrierId": "c-1"}, _SMS),
    _E(
        "sms.delivered",
        "The carrier delivered a message",
        p.SmsDelivered,
        _MESSAGE | {"status": "delivered", "outcome": "delivered", "carrierId": "c-1"},
        _SMS,
    ),
    _E(
        "sms.failed",
        "A message failed",
        p.SmsFailed,
        _MESSAGE
        | {"status": "failed", "outcome": "failed", "reason": "unreachable", "errorCode": "30003", "carrierId": "c-1"},
        _SMS,
    ),
    _E(
        "sms.received",
        "Somebody wrote to one of your numbers",
        p.SmsReceived,
        {
            "id": "msg_059rcwamerv0j",
            "from": "+14155550123",
            "to": "+19495551000",
            "message": "Yes please",
            "direction": "inbound",
            "created_at": "2026-03-11T18:00:00.000Z",
            **_PARTS,
        },
        _INBOUND,
        revdesk="sms_received",
    ),
    _E(
        "sms.opt_out",
        "Somebody opted out of messages and calls",
        p.SmsOptOut,
        {
            "phone": "+14155550123",
            "from": "+14155550123",
            "to": "+19495551000",
            "messageId": "msg_059rcwamerv0j",
            "keyword": "STOP",
        },
        _INBOUND,
    ),
)
_VOICE_EVENTS = (
    _E("voice.initiated", "A call began", p.CallInitiated, _DIALLED | {"carrierId": "c-1"}, _CALL),
    _E("voice.ai.initiated", "A call for an agent began", p.CallInitiated, _DIALLED | {"carrierId": "c-1"}, _CALL),
    _E("voice.inbound", "Somebody calls one of your numbers", p.CallInbound, _LEG | {"status": "ringing"}, _INBOUND),
    _E("voice.answered", "Someone or something answered", p.CallAnswered, _ANSWERED, _CALL),
    _E("voice.amd", "Who or what answered", p.CallAmd, _ANSWERED | {"amd": "human"}, _CALL),
    _E("voice.dtmf", "A key was pressed", p.CallDtmf, _ANSWERED | {"digit": "1"}),
    _E("voice.completed", "An answered call ended", p.CallCompleted, _ENDED | {"carrierId": "c-1"}, _END),
    _E(
        "voice.ai.completed",
        "An answered call for an agent ended",
        p.CallCompleted,
        _ENDED | {"carrierId": "c-1"},
        _END,
    ),
    _E(
        "voice.failed",
        "A call ended without an answer",
        p.CallFailed,
        _UNANSWERED | {"started": True, "carrierId": "c-1"},
        _END,
    ),
)
_CAMPAIGN_EVENTS = (
    _E("campaign.call.initiated", "A campaign's call began", p.CampaignCallInitiated, _DIALLED, _CALL),
    _E("campaign.call.voicemail", "A machine answered", p.CampaignCallAnswered, _ANSWERED | {"amd": "machine"}, _CALL),
    _E(
        "campaign.call.human_connected",
        "A person answered, and an agent took the call if there is one",
        p.CampaignCallAnswered,
        _ANSWERED | {"amd": "human"},
        _END,
    ),
    _E(
        "campaign.call.human_hangup",
        "The conversation ended",
        p.CampaignCallHangup,
        _ATTEMPT | {"status": "completed"},
        _END,
    ),
    _E("campaign.call.no_answer", "Nobody answered", p.CampaignCallEnded, _UNANSWERED, _END),
    _E(
        "campaign.call.busy",
        "The line was busy",
        p.CampaignCallEnded,
        _RETRIED | {"status": "busy", "outcome": "busy", "reason": "busy"},
        _END,
    ),
    _E(
        "campaign.call.failed",
        "The call failed, was abandoned, or its fate is unknown",
        p.CampaignCallEnded,
        _ATTEMPT | {"status": "failed", "outcome": "failed", "reason": "invalid_number"},
        _END,
    ),
    _E(
        "campaign.prospect.dnc",
        "A prospect, or the person of a one-off call, may not be contacted",
        p.CampaignProspectDnc,
        {
            "campaignId": "camp_059rcwamerv0j",
            "prospectId": "pros_0000000000002",
            "phone": "+14155550123",
            "reason": "suppressed",
        },
        "engine.dispatch.held",
    ),
    _E(
        "campaign.stats.updated",
        "A campaign's counts changed; at most once a second",
        p.CampaignStats,
        {"id": "camp_059rcwamerv0j", "stats": _STATS | {"total": 2, "queued": 1, "completed": 1, "progress": 50}},
        "engine.coordinator.stats",
    ),
    _E(
        "campaign.paused.no_dids",
        "A campaign paused itself, for none of its numbers can be used",
        p.CampaignPaused,
        {"campaignId": "camp_059rcwamerv0j", "name": "Autumn reminder", "reason": "no_dids"},
        "engine.coordinator.dispatch",
    ),
)
_OTHER_EVENTS = (
    _E("did.purchased", "A number was bought", p.DidTraded, _DID | {"state": "warming", "carrier": "…"}, _TRADE),
    _E("did.released", "A number was given back", p.DidTraded, _DID | {"state": "released"}, _TRADE),
    _E(
        "did.state_changed",
        "A number's state changed",
        p.DidStateChanged,
        _DID | {"from": "active", "to": "cooling", "reason": "low_score", "until": "2026-03-11T20:00:00.000Z"},
        "engine.store.did_pool",
    ),
    _E(
        "reputation.flagged",
        "An analytics engine labels a number",
        p.ReputationChanged,
        _DID | {"flagged": True, "overallScore": 0.05, "reason": "north: Scam Likely"},
        "engine.rules.reputation",
    ),
    _E(
        "reputation.cleared",
        "A number is free of labels again",
        p.ReputationChanged,
        _DID | {"flagged": False, "overallScore": 0.9, "reason": ""},
        "engine.rules.reputation",
    ),
    _E(
        "billing.usage",
        "Usage was counted",
        p.BillingUsage,
        {"meter": "sms.send", "quantity": 12, "day": "2026-03-11", "total": 340},
        "engine.store.usage",
    ),
    _E("webhook.delivered", "A delivery was accepted", p.WebhookDelivery, _DELIVERY | {"responseCode": 200}, _WEBHOOKS),
    _E(
        "webhook.failed",
        "A delivery was given up",
        p.WebhookDelivery,
        _DELIVERY | {"responseCode": None, "error": "timeout"},
        _WEBHOOKS,
    ),
)
_CONTROL_EVENTS = (
    _E("call.incoming.answered", "Someone or something answered an incoming call", p.CallLeg, _LEG, _INBOUND),
    _E("call.incoming.ended", "An incoming call ended", p.CallLegEnded, _LEG | {"durationS": 42}, _INBOUND),
    _E("call.internal.started", "A call between two users began", p.CallLeg, _LEG),
    _E("call.internal.answered", "A user answered another", p.CallLeg, _LEG),
    _E("call.internal.ended", "A call between two users ended", p.CallLegEnded, _LEG | {"durationS": 42}),
    _E("call.originate.started", "A caller who asked for a call is called first", p.CallLeg, _LEG),
    _E("call.originate.answered", "That caller answered", p.CallLeg, _LEG),
    _E("call.originate.ended", "That caller's leg ended", p.CallLegEnded, _LEG | {"durationS": 42}),
    _E("call.confirm.started", "Whoever answered is asked to accept the call", p.CallLeg, _LEG),
    _E("call.confirm.accepted", "The call was accepted by a key", p.CallLegAccepted, _LEG),
    _E("call.confirm.rejected", "The call was not accepted", p.CallLegEnded, _LEG | {"reason": "no_key"}),
    _E("call.agent_pin.prompted", "Whoever answered is asked for a PIN", p.CallLeg, _LEG),
    _E("call.agent_pin.accepted", "The PIN was right", p.CallLegAccepted, _LEG | {"userId": "user_059rcwamerv0j"}),
    _E("call.agent_pin.timed_out", "No PIN came in time", p.CallLegEnded, _LEG | {"reason": "no_pin"}),
)

EVENTS: tuple[CatalogEvent, ...] = (*_SMS_EVENTS, *_VOICE_EVENTS, *_CAMPAIGN_EVENTS, *_OTHER_EVENTS, *_CONTROL_EVENTS)
BY_TYPE: Mapping[str, CatalogEvent] = {event.name: event for event in EVENTS}
