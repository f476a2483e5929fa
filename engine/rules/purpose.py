"""What a campaign is for. The law's hours bind solicitation; what is no solicitation has wider ones."""

from enum import StrEnum


class Purpose(StrEnum):
    MARKETING = "marketing"  # the default: every rule binds
    INFORMATIONAL = "informational"  # asked for, or about a running affair: appointment, delivery, account
    EMERGENCY = "emergency"  # health and safety of the person called (47 CFR 64.1200(f)): no legal hours
