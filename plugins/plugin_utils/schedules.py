# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognize calendar events of systemd.time(7). What might be one is accepted: systemd itself says what it is on the host."""

from __future__ import annotations

import calendar
import functools
import itertools
import re
from datetime import date as date_type
from datetime import timedelta
from zoneinfo import available_timezones

#: Words that are a whole event, alone or with a time zone, and what each stands for.
EVENTS = {
    "minutely": "*-*-* *:*",
    "hourly": "*-*-* *:00",
    "daily": "*-*-* 00:00",
    "weekly": "Mon *-*-* 00:00",
    "monthly": "*-*-01 00:00",
    "quarterly": "*-01,04,07,10-01 00:00",
    **dict.fromkeys(("semiannually", "semi-annually", "biannually", "bi-annually"), "*-01,07-01 00:00"),
    **dict.fromkeys(("yearly", "annually", "anually"), "*-01-01 00:00"),
}
#: The first day of those among which the longest gap of a schedule is looked for.
FIRST_DAY = date_type(2027, 1, 1)
DAY = "(mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|fri(day)?|sat(urday)?|sun(day)?)"
DAYS = rf"{DAY}((,|\.\.|-){DAY})*,?"
NUMBER = r"\d+(?:\.\d+)?"
#: Numbers, ranges and repetitions of a part of a date or a time.
ITEM = rf"(\*|{NUMBER}(\.\.{NUMBER})?)(/{NUMBER})?"
PART = rf"{ITEM}(,{ITEM})*"
DATE = re.compile(rf"(?:(?P<year>{PART})-)?(?P<month>{PART})[-~](?P<day>{PART})")
TIME = re.compile(rf"(?P<hour>{PART}):(?P<minute>{PART})(?::(?P<second>{PART}))?Z?")
#: The least and the greatest number of each part.
RANGES = {"year": (1970, 9999), "month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59), "second": (0, 60)}


def _is_zone(text: str) -> bool:
    """Return whether a text can be a time zone. The control node may know fewer than the host."""
    return bool(re.fullmatch("[A-Z][A-Z0-9+-]+|[A-Za-z_]+/[A-Za-z0-9_+/-]+", text)) or text in available_timezones()


def _fits(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether a text has the form of a date or a time, with numbers that exist, and ranges that do not end before they begin."""
    found = pattern.fullmatch(text)
    if not found:
        return False
    for name, part in found.groupdict().items():
        least, most = RANGES[name]
        # The number after a slash is the distance of repetitions. A year may have two digits.
        numbers = [float(number) for number in re.findall(NUMBER, re.sub(rf"/{NUMBER}", "", part or ""))]
        if any(not least <= number <= most and not (name == "year" and number < 100) for number in numbers):
            return False
        if not all(_numbers(item, name) for item in (part or "*").split(",")):
            return False
    return True


def _parts(text: str) -> tuple[str, re.Match[str] | None, re.Match[str] | None] | None:
    """Return the days of the week, the date and the time of a calendar event, each of which may be left out; None if the text has another form."""
    words = [word for word in re.sub(r"(\d)T(\d)", r"\1 \2", text).split(" ") if word]
    if words and (event := EVENTS.get(words[0].lower())):
        words = [*event.split(" "), *words[1:]]
    count, days = len(words), []
    while words and re.fullmatch(DAYS, words[0], re.IGNORECASE) and all(_weekdays(item) for item in words[0].split(",") if item):
        days.append(words.pop(0))
    date = DATE.fullmatch(words.pop(0)) if words and _fits(DATE, words[0]) else None
    time = TIME.fullmatch(words.pop(0)) if words and _fits(TIME, words[0]) else None
    if len(words) < count and (not words or len(words) == 1 and _is_zone(words[0])):
        return ",".join(days), date, time
    return None


def is_schedule(text: str) -> bool:
    """Return whether a text can be a calendar event: a word, or days of the week, a date and a time, of which one is enough, and a time zone.

    :param text: The text, which is not empty.
    """
    return bool(re.fullmatch(r" *@\d+(\.\d+)? *", text)) or _parts(text) is not None


def _numbers(part: str, name: str, backwards: bool = False) -> set[int]:
    """Return the numbers that a part of a date or a time stands for, without those beyond its range.

    :param part: Such as C(*), C(1,15), C(9..17) or C(0/5).
    :param name: The name of the part.
    :param backwards: Whether the numbers count from the end of a month, so that repetitions lead to the last day.
    """
    least, most = RANGES[name]
    found: set[int] = set()
    for item in part.split(","):
        base, _slash, step = item.partition("/")
        first, _dots, last = base.partition("..")
        begin = least if first == "*" else int(float(first))
        if name == "year" and begin < 100:
            begin += 1900 if begin >= 70 else 2000
        end = int(float(last)) if last else most if first == "*" or step else begin
        distance = max(int(float(step or 1)), 1)
        found |= set(range(begin, least - 1, -distance) if backwards and step and first != "*" else range(begin, end + 1, distance))
    return found


def _weekdays(text: str) -> set[int]:
    """Return the days of the week in a text, Monday as 0. A range that ends before it begins has none."""
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    found: set[int] = set()
    for item in filter(None, text.lower().split(",")):
        ends = [names.index(name[:3]) for name in re.split(r"\.\.|-", item)]
        found |= set(range(ends[0], ends[-1] + 1))
    return found


@functools.cache
def longest_gap(text: str) -> int | None:
    """Return the longest time between two runs of a schedule in seconds, to the minute. None if it runs less than twice in eight years.

    :param text: A calendar event, which may be empty.
    """
    parts = _parts(text)
    if not parts:
        return None
    weekdays, date, time = parts
    hours, minutes = (_numbers(time[name] if time else "0", name) for name in ("hour", "minute"))
    times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
    years, months = (_numbers((date[name] if date else None) or "*", name) for name in ("year", "month"))
    from_end = date is not None and "~" in date[0]
    numbers, wanted = _numbers(date["day"] if date else "*", "day", from_end), _weekdays(weekdays or "mon..sun")
    days = []
    # Any eight years: the result must not depend on the day on which it is computed.
    for day in (FIRST_DAY + timedelta(number) for number in range(8 * 366)):
        number = calendar.monthrange(day.year, day.month)[1] + 1 - day.day if from_end else day.day
        if day.year in years and day.month in months and number in numbers and day.weekday() in wanted:
            days.append(day.toordinal() * 1440)
    within = [later - earlier for earlier, later in itertools.pairwise(times)] if days else []
    between = [later + times[0] - earlier - times[-1] for earlier, later in itertools.pairwise(days)]
    return max([*within, *between], default=0) * 60 or None
