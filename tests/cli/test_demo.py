"""What `carillon demo` says when it cannot end well."""

from datetime import UTC, datetime

from api_min.cli.demo import LONGEST_S, too_slow


def test_a_demo_that_is_not_over_in_time_says_why_and_what_to_do() -> None:
    said = too_slow(datetime(2026, 3, 12, 2, 30, tzinfo=UTC))
    assert f"not completed after {LONGEST_S:g} s" in said
    assert "Thursday, 02:30 UTC" in said
    assert "legal hours of its day were over" in said
    assert "Run it again when the machine has less to do" in said
