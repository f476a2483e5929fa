import pytest

from engine.rules.operation import GIVE_UP_S, LONGEST_PAUSE_S, Kind, gives_up, pause_s
from engine.rules.overlays import overlays_of
from engine.rules.reputation import EngineVerdict, Reputation, event_of, fold

CLEAN = EngineVerdict("a", False, 0.1)
LABELLED = EngineVerdict("b", True, 0.95, 7, "Scam Likely")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], Reputation(False, 1.0, "")),
        ([CLEAN], Reputation(False, 0.9, "")),
        ([CLEAN, LABELLED], Reputation(True, 0.05, "b: Scam Likely")),
        ([EngineVerdict("c", True, 2.0), LABELLED], Reputation(True, 0.0, "c: flagged; b: Scam Likely")),
    ],
)
def test_one_label_is_a_label(verdicts: list[EngineVerdict], expected: Reputation) -> None:
    assert fold(verdicts) == expected


@pytest.mark.parametrize(
    ("before", "now", "event"),
    [
        (None, False, ""),
        (None, True, "reputation.flagged"),
        (False, True, "reputation.flagged"),
        (True, True, ""),
        (True, False, "reputation.cleared"),
        (False, False, ""),
    ],
)
def test_only_changes_are_told(before: bool | None, now: bool, event: str) -> None:
    assert event_of(before, now) == event


@pytest.mark.parametrize(
    ("code", "expected"),
    [("415", ("415/628",)), ("628", ("415/628",)), ("949", ()), ("470", ("404/470/678/943", "470/678/770/943"))],
)
def test_overlays(code: str, expected: tuple[str, ...]) -> None:
    assert overlays_of(code) == expected


def test_pauses_grow_and_heed_the_carrier() -> None:
    assert [pause_s(tries) for tries in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert pause_s(1, 30.0) == 30.0
    assert pause_s(99) == LONGEST_PAUSE_S
    for kind in Kind:
        assert not gives_up(kind, GIVE_UP_S[kind] - 1)
        assert gives_up(kind, GIVE_UP_S[kind])
