"""The life of a campaign, as one table. `store.campaigns` guards the same moves in SQL.

A campaign is `created`, takes prospects, and is started once. Pause and resume move between `dialing` and `paused`. It
ends `completed` when no prospect is open, or `cancelled` when told so. `failed` is for one that can never run: clients
know the word, but nothing leads there yet, for every reason known today can be mended and so pauses.
"""

from enum import StrEnum


class CampaignStatus(StrEnum):
    CREATED = "created"
    DIALING = "dialing"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Action(StrEnum):
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    COMPLETE = "complete"  # by the coordinator


S, A = CampaignStatus, Action

TRANSITIONS: dict[CampaignStatus, dict[Action, CampaignStatus]] = {
    S.CREATED: {A.START: S.DIALING, A.CANCEL: S.CANCELLED},
    S.DIALING: {A.PAUSE: S.PAUSED, A.CANCEL: S.CANCELLED, A.COMPLETE: S.COMPLETED},
    S.PAUSED: {A.RESUME: S.DIALING, A.CANCEL: S.CANCELLED},
    S.COMPLETED: {},
    S.CANCELLED: {},
    S.FAILED: {},
}

CLIENT_ACTIONS = (A.START, A.PAUSE, A.RESUME, A.CANCEL)
ACCEPTS_PROSPECTS = (S.CREATED, S.PAUSED)


def after(status: CampaignStatus, action: Action) -> CampaignStatus | None:
    """The status that `action` leads to, or None when it is not allowed from `status`."""
    return TRANSITIONS[status].get(action)


def sources(action: Action) -> tuple[CampaignStatus, ...]:
    """The statuses from which `action` is allowed: the guard of the SQL update."""
    return tuple(status for status, moves in TRANSITIONS.items() if action in moves)


def allowed_actions(status: CampaignStatus) -> tuple[Action, ...]:
    """What a client may do now: named in the 409 answer."""
    return tuple(action for action in CLIENT_ACTIONS if action in TRANSITIONS[status])
