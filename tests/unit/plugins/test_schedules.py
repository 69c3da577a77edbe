"""Calendar events of systemd are told from plain nonsense."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from datetime import datetime

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.schedules import is_schedule, longest_gap

#: Events of systemd.time(7), and those of the documentation.
EVENTS = (
    *("minutely", "hourly", "daily", "weekly", "monthly", "yearly", "annually", "quarterly", "semiannually", "Daily", "daily UTC", "weekly Europe/Berlin"),
    *("Sun *-*-* 04:00:00", "*-*-* 02:30:00", "*:0/5", "Sun *-*-* 06:00", "Sat,Thu,Mon..Wed,Sat..Sun", "Mon,Sun 12-*-* 2,1:23", "Wed *-1", "Wed..Wed,Wed *-1"),
    *("Wed, 17:48", "Wed..Sat,Tue 12-10-15 1:2:3", "*-*-7 0:0:0", "10-15", "monday *-12-* 17:00", "Mon,Fri *-*-3,1,2 *:30:45", "12,14,13,12:20,10,30"),
    *("12..14:10,20,30", "mon,fri *-1/2-1,3 *:30:45", "03-05 08:05:40", "08:05:40", "05:40", "Sat,Sun 12-05 08:05:40", "Sat,Sun 08:05:40", "2003-03-05 05:40"),
    *(
        "05:40:23.4200004/3.1700005",
        "2003-02..04-05",
        "2003-03-05 05:40 UTC",
        "2003-03-05",
        "03-05",
        "Sunday",
        "*-02~03",
        "*-05~07/1",
        "Mon *-05~07/1",
        "@1395716396",
    ),
    *("Sun 04:00 America/New_York", "*-*-* 00/6:00:00", "Mon..Fri 22:30", "2026-12-24T18:00:00", "Mon *-*-1..7 04:00", "04:00 CET", "*-*-01,15 05:00:00"),
)
NONSENSE = (
    *(
        "every sunday",
        "nightly",
        "0 2 * * *",
        "@daily",
        "midnight",
        "24:00",
        "Sun 25:00",
        "12:60",
        "*-13-01",
        "*-*-32",
        "daily weekly",
        "daily at 4",
        "4 o'clock",
    ),
    *(
        "Sun at 04:00",
        "sundays",
        "04:00 Sun",
        "every 5 minutes",
        "5min",
        "Europe/Berlin",
        "UTC",
        "1h",
        "daily\nweekly",
        "Sun *-*-* 04:00:00 nightly",
        "-",
        "*",
        "%H:00",
    ),
    # Ranges that end before they begin.
    *("17..9:00", "*:30..10", "2,17..9:00", "*-*-31..1 02:00", "*-12..1-01", "2030..2020-01-01", "*-*-* 0:0:10..5", "Sat..Mon 02:00", "Mon,Fri..Tue"),
)


@pytest.mark.parametrize("text", EVENTS)
def test_an_event_is_accepted(text: str) -> None:
    assert is_schedule(text)


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused(text: str) -> None:
    assert not is_schedule(text)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd")
def test_systemd_reads_the_events_and_not_the_nonsense() -> None:
    read = {text: subprocess.run(["systemd-analyze", "calendar", text], check=False, capture_output=True).returncode == 0 for text in (*EVENTS, *NONSENSE)}
    # The form with a T is read since systemd 250.
    assert [text for text in EVENTS if not read[text] and "T1" not in text] == []
    assert [text for text in NONSENSE if read[text]] == []


#: Events, each with its longest gap in hours.
GAPS: dict[str, float | None] = {
    "minutely": 1 / 60,
    "hourly": 1,
    "daily": 24,
    "daily UTC": 24,
    "weekly": 7 * 24,
    "monthly": 31 * 24,
    "quarterly": 92 * 24,
    "yearly": 366 * 24,
    "*:0/5": 1 / 12,
    "*-*-* 02:30:00": 24,
    "Sun *-*-* 06:00": 7 * 24,
    "Mon..Fri 22:30": 3 * 24,
    "Sat,Sun 04:00": 6 * 24,
    "Wed, 17:48": 7 * 24,
    "*-*-01,15 05:00:00": 17 * 24,
    "*-*-* 00/6:00:00": 6,
    "*-*-* 8..18:00": 14,
    "12..14:10,20,30": 21 + 40 / 60,
    "Mon..Wed,Fri 4:00": 3 * 24,
    "*-*~01 03:00": 31 * 24,
    "*-*~07/1 04:00": 25 * 24,
    "*-*~07/3 04:00": 25 * 24,
    "Mon *-*-1..7 04:00": 35 * 24,
    "*-1/2-1 3:00": 62 * 24,
    "2026-12-24 18:00": None,
    "@1395716396": None,
    "": None,
    "nightly": None,
    "17..9:00": None,
    "Sat..Mon 02:00": None,
}


@pytest.mark.parametrize(("text", "hours"), GAPS.items())
def test_the_longest_gap_of_a_schedule(text: str, hours: float | None) -> None:
    assert longest_gap(text) == (None if hours is None else round(hours * 3600))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd")
@pytest.mark.parametrize("text", [text for text, hours in GAPS.items() if hours])
def test_systemd_runs_a_schedule_with_the_same_gaps(text: str) -> None:
    options = ["--iterations=100", "--base-time=2027-12-31 23:59:59 UTC"]
    said = subprocess.run(["systemd-analyze", "calendar", *options, text], check=True, capture_output=True, text=True, env={"TZ": "UTC"}).stdout
    runs = [datetime.strptime(found, "%Y-%m-%d %H:%M:%S") for found in re.findall(r"(?:Next elapse|Iter(?:ation|\.) #\d+): \w+ (\S+ \S+) UTC", said)]
    assert len(runs) == 100
    assert max(later - earlier for earlier, later in itertools.pairwise(runs)).total_seconds() == longest_gap(text)
