"""Why a hint was given no intent: a closed set, the label of a metric."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why a hint was given no intent."""

    NOT_LIVE = "not_live"  # the campaign is paused, cancelled or over
    OUT_OF_DATE = "out_of_date"  # the prospect is not due any more: a doubled hint
    SUPPRESSED = "suppressed"
    OUTSIDE_WINDOW = "outside_window"
    NO_TIMEZONE = "no_timezone"
    NO_RULE = "no_rule_for_country"
    SENDER_NOT_READY = "sender_not_ready"
    MISSING_VALUE = "missing_value"  # the campaign's text needs data that this prospect lacks
    CONTENT_REJECTED = "content_rejected"
    SENDER_AT_CAP = "sender_at_cap"  # its calls of this hour or day are made
    SENDER_BLOCKED = "sender_blocked"  # the number that last contacted this person is blocked, for a while or for good
    TOO_MANY_CALLS = "too_many_calls"  # up at one time, or no agent is free
    CARRIER_CAP = "carrier_cap"  # of 10DLC, for the minute or the day
    REGISTRY = "registry"  # on a do-not-call registry, without written consent
    NO_CONSENT = "no_consent"
    ATTEMPT_CAP = "attempt_cap"  # contacted as often as the account, the campaign or a state allows
    REGISTRY_MISSING = "registry_missing"  # no copy is loaded of a registry that must be asked
    REGISTRY_STALE = "registry_stale"  # or it is older than 31 days
