"""The call flow: agents, abandonment, commands."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.rules import reports
from engine.rules.decision import CallPlan, Limits
from engine.rules.telephony import Amd, CarrierError, Fault
from tests.rules.calls import ANSWERED, BRIDGED, GREETED, PLAYED, A, S, bridged, run
from tests.rules.flows import (
    AGENT_PLAN,
    AUDIO_PLAN,
    BARE_PLAN,
    NOW,
    NOW_S,
    amd,
    commanded,
    next_view,
    view,
)


def test_a_person_without_an_agent_is_abandoned_two_seconds_after_the_greeting() -> None:
    at = next_view(run(view(S.RINGING), ANSWERED))
    at = next_view(run(at, GREETED, after_s=1.5))
    assert at.check_at is not None
    assert at.check_at.timestamp() == pytest.approx(NOW_S + 3.5, abs=0.01)
    assert run(at, reports.CHECK, after_s=3.4).is_changed is False

    decision = run(at, reports.CHECK, after_s=3.5)

    assert (decision.agent_state, decision.reason) == (A.FAILED, "agent_late")
    assert commanded(decision) == "play"
    assert decision.command is not None
    assert decision.command["text"] == "This is Example. Call +12135550100."
    assert decision.command["then_hangup"] is True
    late = run(next_view(decision), BRIDGED, after_s=3.6)
    assert late.agent_state is A.FAILED  # too late is too late


def test_the_two_seconds_are_real_at_any_speed_of_engine_time() -> None:
    plan = replace(AGENT_PLAN, limits=Limits(speed=600.0))
    answered_at = NOW - timedelta(seconds=600)  # one real second ago
    at = view(S.ANSWERED, answered_at=answered_at, agent_state=int(A.REQUESTED), check_at=NOW)
    decision = run(at, GREETED, plan=plan)
    assert decision.check_at_s == pytest.approx(NOW_S + 2.0)


def test_a_screening_assistant_is_waited_for() -> None:
    at = next_view(run(view(S.RINGING), ANSWERED, amd(Amd.SCREENING)))
    at = next_view(run(at._replace(command=None), reports.CHECK, after_s=5.0))
    assert at.agent_state == A.REQUESTED


def test_a_handoff_that_nobody_was_told_of_is_withdrawn_for_a_machine() -> None:
    decision = run(view(S.RINGING), ANSWERED, amd(Amd.MACHINE))
    assert (decision.state, decision.agent_state, commanded(decision)) == (S.MACHINE, A.NONE, None)


def test_the_recording_waits_for_the_detach() -> None:
    at = next_view(run(view(S.ANSWERED, **bridged), amd(Amd.MACHINE)))
    at = next_view(run(at, amd(Amd.MACHINE_READY)))
    assert at.command is not None
    assert at.command["kind"] == "detach"
    decision = run(at, reports.command_done(at.command_no))
    assert commanded(decision) == "play"
    assert decision.command is not None
    assert decision.command["audio_url"] == "https://example.com/vm.mp3"


def test_a_document_replaces_the_agent_at_once() -> None:
    plan = replace(AGENT_PLAN, is_document=True)
    assert commanded(run(view(S.ANSWERED, **bridged), amd(Amd.MACHINE_READY), plan=plan)) == "play"


@pytest.mark.parametrize(
    ("verdict", "plan", "command"),
    [
        (Amd.HUMAN, AUDIO_PLAN, "play"),
        (Amd.HUMAN, BARE_PLAN, "hangup"),
        (Amd.MACHINE, AUDIO_PLAN, None),
        (Amd.MACHINE, BARE_PLAN, "hangup"),
        (Amd.MACHINE_READY, AUDIO_PLAN, "play"),
        (Amd.FAX, AUDIO_PLAN, "hangup"),
    ],
)
def test_without_an_agent(verdict: Amd, plan: CallPlan, command: str | None) -> None:
    assert commanded(run(view(S.RINGING), ANSWERED, amd(verdict), plan=plan)) == command


def test_a_command_is_sent_again_under_its_number_until_it_is_confirmed() -> None:
    at = next_view(run(view(S.RINGING), ANSWERED, amd(Amd.HUMAN), plan=AUDIO_PLAN))
    again = run(at, reports.CHECK, plan=AUDIO_PLAN, after_s=2.0)
    assert commanded(again) == "play"
    assert again.command_no == at.command_no
    for confirmation in (reports.command_done(at.command_no), reports.command_failed(at.command_no, gone=True), PLAYED):
        assert run(at, confirmation, plan=AUDIO_PLAN).command is None
    assert run(at, reports.command_done(at.command_no - 1), plan=AUDIO_PLAN).command is not None


def test_a_handoff_that_the_carrier_refuses_for_good_abandons_at_once() -> None:
    at = next_view(run(view(S.RINGING), ANSWERED))
    refused = reports.command_failed(1, gone=False, error=CarrierError(Fault.BAD_REQUEST))
    decision = run(at, refused)
    assert (decision.agent_state, commanded(decision)) == (A.FAILED, "play")


def test_a_rendered_plan_is_not_sent_again_and_stays_for_the_repeat() -> None:
    plan = replace(AGENT_PLAN, is_document=True, renders=True)
    at = next_view(run(view(S.RINGING), ANSWERED, plan=plan))
    decision = run(at, BRIDGED, plan=plan)
    assert decision.command is not None
    assert (decision.command["kind"], decision.command["cause"]) == ("handoff", "answered:")
    assert decision.is_command_due is False
