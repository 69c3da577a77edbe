# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognize calendar events of systemd.time(7). What might be one is accepted: systemd itself says what it is on the host."""

from __future__ import annotations

import re
from zoneinfo import available_timezones

#: Words that are a whole event, alone or with a time zone.
WORDS = r"minutely|hourly|daily|weekly|monthly|yearly|annually|anually|quarterly|(bi|semi)-?annually"
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
    """Return whether a text has the form of a date or a time, with numbers that exist."""
    found = pattern.fullmatch(text)
    if not found:
        return False
    for name, part in found.groupdict().items():
        least, most = RANGES[name]
        # The number after a slash is the distance of repetitions. A year may have two digits.
        numbers = [float(number) for number in re.findall(NUMBER, re.sub(rf"/{NUMBER}", "", part or ""))]
        if any(not least <= number <= most and not (name == "year" and number < 100) for number in numbers):
            return False
    return True


def is_schedule(text: str) -> bool:
    """Return whether a text can be a calendar event: a word, or days of the week, a date and a time, of which one is enough, and a time zone.

    :param text: The text, which is not empty.
    """
    words = re.sub(r"(\d)T(\d)", r"\1 \2", text).split(" ")
    words = [word for word in words if word]
    if words and re.fullmatch(WORDS, words[0], re.IGNORECASE):
        return len(words) == 1 or len(words) == 2 and _is_zone(words[1])
    if len(words) == 1 and re.fullmatch(r"@\d+(\.\d+)?", words[0]):
        return True
    count = len(words)
    while words and re.fullmatch(DAYS, words[0], re.IGNORECASE):
        words = words[1:]
    if words and _fits(DATE, words[0]):
        words = words[1:]
    if words and _fits(TIME, words[0]):
        words = words[1:]
    return len(words) < count and (not words or len(words) == 1 and _is_zone(words[0]))
