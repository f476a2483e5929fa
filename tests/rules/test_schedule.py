import pytest

from engine.errors import InvalidInput
from engine.rules.schedule import ALL_DAYS, ANY_TIME, Schedule, parse_schedule


@pytest.mark.parametrize(
    ("value", "schedule"),
    [
        (None, ANY_TIME),
        ({}, ANY_TIME),
        ({"timezone": None, "days": None}, ANY_TIME),
        (
            {"timezone": "America/Los_Angeles", "startHour": 9, "endHour": 19, "days": [1, 2, 3, 4, 5]},
            Schedule("America/Los_Angeles", 9, 19, frozenset({1, 2, 3, 4, 5})),
        ),
        ({"timezone": "America/Los_Angeles"}, Schedule("America/Los_Angeles")),
        ({"startHour": 0}, Schedule(None, 0, None)),
        ({"endHour": 23}, Schedule(None, None, 23)),
        ({"startHour": 9.0}, Schedule(None, 9, None)),
        ({"days": [7, 7]}, Schedule(None, None, None, frozenset({7}))),
    ],
)
def test_schedules(value: object, schedule: Schedule) -> None:
    assert parse_schedule(value) == schedule


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"timezone": "Pacific Time"}, "schedule.timezone"),
        ({"timezone": "../../etc/passwd"}, "schedule.timezone"),
        ({"timezone": "Factory"}, "schedule.timezone"),
        ({"timezone": 5}, "schedule.timezone"),
        ({"startHour": True}, "schedule.startHour"),
        ({"startHour": -1}, "schedule.startHour"),
        ({"startHour": 24}, "schedule.startHour"),
        ({"startHour": 9.5}, "schedule.startHour"),
        ({"startHour": "9"}, "schedule.startHour"),
        ({"endHour": 24}, "schedule.endHour"),
        ({"endHour": 0}, "schedule.endHour"),
        ({"startHour": 9, "endHour": 9}, "schedule.endHour"),
        ({"startHour": 19, "endHour": 9}, "schedule.endHour"),
        ({"days": []}, "schedule.days"),
        ({"days": [0]}, "schedule.days"),
        ({"days": [8]}, "schedule.days"),
        ({"days": [True]}, "schedule.days"),
        ({"days": ["1"]}, "schedule.days"),
        ({"days": [[1]]}, "schedule.days"),
        ({"days": 1}, "schedule.days"),
        ({"start_hour": 9}, "schedule.start_hour"),
        ([], "schedule"),
        ("always", "schedule"),
    ],
)
def test_faults_name_the_field(value: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_schedule(value)
    assert list(caught.value.fields) == [field]


def test_all_faults_are_named_at_once_with_their_values() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_schedule({"timezone": "Nowhere", "startHour": 24, "days": [9], "hour": 1})
    assert set(caught.value.fields) == {f"schedule.{name}" for name in ("timezone", "startHour", "days", "hour")}
    assert "24" in str(caught.value.fields["schedule.startHour"])
    assert "0 to 23" in str(caught.value.fields["schedule.startHour"])
    assert "and 3 more" in caught.value.message


def test_all_days_are_seven() -> None:
    assert len(ALL_DAYS) == 7
