"""A command on its way to a carrier: as its attempt's row holds it, and as the carrier gets it."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.carriers import agent_token
from engine.carriers.port import AgentKind, AgentTarget, Command, CommandKind
from engine.dispatch.facts import AttemptKey
from engine.ids import attempt_ref, encode
from engine.rules.decision import AttemptView
from engine.settings import Settings

TOKEN_LIFE_S = 600.0  # an agent answers within seconds; the rest is for clocks that disagree


class Order(NamedTuple):
    """To be carried out after the commit. With the ref, its number makes it safe to send twice."""

    key: AttemptKey
    ref: str
    carrier: str
    carrier_id: str
    from_number: str
    phone: str
    command: Mapping[str, Any]


def order_of(view: AttemptView, carrier_id: str, command: Mapping[str, Any]) -> Order:
    key = AttemptKey(view.campaign_id, view.prospect_id, view.attempt)
    ref = attempt_ref(view.campaign_id, view.prospect_id, view.attempt)
    return Order(key, ref, view.carrier, carrier_id, view.from_number, view.phone, command)


def build(order: Order, settings: Settings) -> Command:
    """The port's command; an agent is told which call it gets, with a token that proves it."""
    held = order.command
    return Command(
        kind=CommandKind(held["kind"]),
        number=held["number"],
        agent=_agent(order, settings),
        audio_url=held["audio_url"],
        text=held["text"],
        then_hangup=held["then_hangup"],
    )


def _agent(order: Order, settings: Settings) -> AgentTarget | None:
    agent = order.command["agent"]
    if agent is None:
        return None
    params = {
        **agent["params"],
        "attempt_id": order.ref,
        "campaign_id": encode("camp", order.key.campaign_id),
        "from": order.from_number,
        "to": order.phone,
    }
    secret = settings.secret.get_secret_value() or settings.simulated_secret.get_secret_value()
    token = agent_token.sign(secret, order.ref, TOKEN_LIFE_S, time.time())
    return AgentTarget(AgentKind(agent["kind"]), agent["address"], params, token)
