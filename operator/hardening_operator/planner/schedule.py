"""The times of a cron schedule in a time zone.

Daylight saving is treated as Debian's cron does: a time of day that a jump forward leaves out comes right after it, one
that a jump back brings twice comes once; schedules by the minute or the hour follow the clock's elapsed time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

SECOND = timedelta(seconds=1)


class NeverDue(Exception):
    """The schedule names no date there is, such as the 30th of February."""


@dataclass(frozen=True)
class Schedule:
    """`expression` is five fields of cron, `time_zone` an IANA name. All times taken and given are aware."""

    expression: str
    time_zone: str

    def next_after(self, time: datetime) -> datetime:
        """Return the first time after ``time``, in UTC. Raises NeverDue."""
        return next(self._times(time, reverse=False))

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last time after ``after`` and not after ``until``, in UTC, or None. Raises NeverDue."""
        found = next((time for time in self._times(until + SECOND, reverse=True) if time <= until), None)
        # Where the clock jumps, stepping back can pass over a time that stepping forward meets.
        while found is not None and (following := self.next_after(found)) <= until and following > found:
            found = following
        return found if found is not None and found > after else None

    def _times(self, start: datetime, *, reverse: bool) -> Iterator[datetime]:
        local = start.astimezone(ZoneInfo(self.time_zone)).replace(microsecond=0)
        try:
            for time in CronSim(self.expression, local, reverse=reverse):
                yield time.astimezone(UTC)
        except CronSimError as error:
            raise NeverDue(f"{self.expression}: {error}") from None
        raise NeverDue(f"{self.expression}: no such date within 50 years")
