"""What a live call is told to do: one command at a time, each in place of the one before it.

A command stays in the row until the carrier confirms it, by its answer or by what it reports, so a lost one is found
and sent again under the same number. A plan rendered as the answer to a callback stays for that callback's repeat.
"""

from engine.rules.attempt import AgentState
from engine.rules.decision import CallPlan, Decision, encode_command
from engine.rules.reports import Report, ReportKind
from engine.rules.telephony import Amd, Command, CommandKind

AGENT_LATE = "agent_late"


def order(call: Decision, kind: CommandKind, plan: CallPlan, text: str = "") -> None:
    """What the call shall do next. Nothing, once it has ended."""
    if call.ended_at is not None:
        return
    call.command_no += 1
    is_audio = kind is CommandKind.PLAY and not text
    agent = plan.agent if kind is CommandKind.HANDOFF else None
    command = Command(kind, call.command_no, agent, plan.audio_url if is_audio else "", text)
    call.command = encode_command(command, call.cause, is_rendered=plan.renders)
    call.is_command_due, call.is_changed = not plan.renders, True


def abandon(call: Decision, reason: str, plan: CallPlan) -> None:
    """No agent: the person hears who called (47 CFR 64.1200(a)(7)) before the line is closed."""
    call.agent_state, call.reason = AgentState.FAILED, reason
    call.is_changed = True
    text = plan.identification.replace("{number}", call.view.from_number)
    order(call, CommandKind.PLAY if text else CommandKind.HANGUP, plan, text=text)


def take_off(call: Decision, verdict: Amd, had_agent: bool, plan: CallPlan) -> None:
    """A machine or a fax holds the line: no agent for it, and the recording after the beep."""
    if verdict is Amd.FAX or not plan.audio_url:
        order(call, CommandKind.HANGUP, plan)
    elif verdict is Amd.MACHINE_READY and (plan.is_document or not had_agent):
        order(call, CommandKind.PLAY, plan)
    elif had_agent and not _withdraw_handoff(call):
        order(call, CommandKind.DETACH, plan)
    elif verdict is Amd.MACHINE_READY:
        order(call, CommandKind.PLAY, plan)
    elif had_agent and plan.is_document:
        order(call, CommandKind.WAIT, plan)


def deposit(call: Decision, plan: CallPlan) -> None:
    """The beep. A detach that is still on its way goes first, or the agent would speak into the recording."""
    if plan.audio_url and (plan.is_document or not is_told(call, CommandKind.DETACH)):
        order(call, CommandKind.PLAY, plan)


def is_told(call: Decision, kind: CommandKind) -> bool:
    """Is this the command that waits for its confirmation?"""
    return call.command is not None and call.command["kind"] == kind and not call.command["rendered"]


def is_waiting(call: Decision) -> bool:
    """Is there a command that the carrier has yet to confirm?"""
    return call.command is not None and not call.command["rendered"]


def drop(call: Decision) -> None:
    if call.command is not None:
        call.command, call.is_command_due, call.is_changed = None, False, True


def answered(call: Decision, report: Report, plan: CallPlan) -> None:
    """Folds the carrier's answer to a command. An older command's answer says nothing any more."""
    command = call.command
    if command is None or command["number"] != report.number or command["rendered"]:
        return
    kind = command["kind"]
    if report.kind is ReportKind.COMMAND_DONE or report.gone:
        drop(call)
        if kind == CommandKind.DETACH and call.amd == Amd.MACHINE_READY and not report.gone:
            deposit(call, plan)
    elif report.error is None or report.error.retryable:
        return  # the watch sends it again
    elif kind == CommandKind.HANDOFF and call.agent_state is AgentState.REQUESTED:
        abandon(call, "agent_failed", plan)
    elif kind == CommandKind.HANGUP:
        drop(call)  # the carrier will not have it: the call ends by its own limit
    else:
        order(call, CommandKind.HANGUP, plan)


def _withdraw_handoff(call: Decision) -> bool:
    """Drops a handoff that these same reports decided: nobody has been told of it yet."""
    if not is_told(call, CommandKind.HANDOFF) or call.command_no == call.view.command_no:
        return False
    drop(call)
    return True
