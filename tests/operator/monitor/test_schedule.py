from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from hardening_operator.planner.schedule import NeverDue, Schedule


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def times(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    found, time = [], schedule.next_after(start)
    while time <= end:
        found.append(time)
        time = schedule.next_after(time)
    return found


def test_times_of_day_are_those_of_the_time_zone() -> None:
    berlin = Schedule("0 3 * * *", "Europe/Berlin")
    assert berlin.next_after(utc(2026, 1, 10, 12)) == utc(2026, 1, 11, 2)
    assert berlin.next_after(utc(2026, 7, 10, 12)) == utc(2026, 7, 11, 1)


def test_the_latest_time_is_the_last_that_passed_and_never_an_earlier_one_than_asked_for() -> None:
    hourly = Schedule("0 * * * *", "Etc/UTC")
    assert hourly.latest(utc(2026, 1, 1), utc(2026, 1, 1, 5, 30)) == utc(2026, 1, 1, 5)
    assert hourly.latest(utc(2026, 1, 1), utc(2026, 1, 1, 5)) == utc(2026, 1, 1, 5)
    assert hourly.latest(utc(2026, 1, 1, 5), utc(2026, 1, 1, 5, 59)) is None


def test_a_day_that_skips_the_hour_still_has_its_check_right_after_the_jump() -> None:
    found = times(Schedule("30 2 * * *", "Europe/Berlin"), utc(2026, 3, 28), utc(2026, 3, 31))
    assert found == [utc(2026, 3, 28, 1, 30), utc(2026, 3, 29, 1), utc(2026, 3, 30, 0, 30)]


def test_a_day_that_repeats_the_hour_has_one_check() -> None:
    found = times(Schedule("30 2 * * *", "Europe/Berlin"), utc(2026, 10, 24, 12), utc(2026, 10, 26, 12))
    assert [time.date().isoformat() for time in found] == ["2026-10-25", "2026-10-26"]


def test_checks_by_the_half_hour_follow_elapsed_time_through_both_jumps() -> None:
    for start in (utc(2026, 3, 28, 22), utc(2026, 10, 24, 22)):
        found = times(Schedule("*/30 * * * *", "Europe/Berlin"), start, start + timedelta(hours=12))
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=30)}


@pytest.mark.parametrize("expression", ["30 2 * * *", "*/30 * * * *", "15 1,3 * * SUN", "0 0 1 * *"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Etc/UTC"])
def test_stepping_back_finds_what_stepping_forward_met(expression: str, zone: str) -> None:
    schedule = Schedule(expression, zone)
    for start in (utc(2026, 3, 6), utc(2026, 3, 27), utc(2026, 4, 3), utc(2026, 10, 2), utc(2026, 10, 30)):
        met = times(schedule, start, start + timedelta(days=4))
        for minutes in range(0, 4 * 24 * 60, 47):
            now = start + timedelta(minutes=minutes)
            assert schedule.latest(start, now) == max((time for time in met if time <= now), default=None)


def test_a_date_there_is_not_is_never_due() -> None:
    with pytest.raises(NeverDue, match="0 0 30 2"):
        Schedule("0 0 30 2 *", "Etc/UTC").next_after(utc(2026, 1, 1))
