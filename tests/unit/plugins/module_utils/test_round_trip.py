"""Round trips of one prober, which would delete each other's run."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils import round_trip
from ansible_collections.atlas.mlflow.plugins.module_utils.round_trip import RoundTrip, alone, lock_file
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base
from fake_tracking import FakeTracking, serving


def server_of(fake: FakeTracking) -> TrackingServer:
    """Return a stand-in, as a round trip calls it."""
    return TrackingServer(Base.parse(fake.url), f"127.0.0.1:{fake.port}", 5, None, None)


def waiting(prober: str) -> bool:
    """Say whether somebody waits for a prober's lock, as the kernel knows (proc_locks(5))."""
    inode = Path(lock_file(prober)).stat().st_ino
    return any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_round_trips_of_one_prober_take_turns() -> None:
    with serving(FakeTracking()) as fake, serving(FakeTracking()) as another:
        assert isinstance(fake, FakeTracking) and isinstance(another, FakeTracking)
        trip = RoundTrip(server_of(fake), "taking-turns", 1000)
        thread = threading.Thread(target=trip.run, daemon=True)
        with alone("taking-turns"):
            thread.start()
            deadline = time.monotonic() + 30
            while not waiting("taking-turns") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert waiting("taking-turns") and fake.paths == []
            # Another prober has nothing to wait for.
            other = RoundTrip(server_of(another), "not-waiting", 1000)
            other.run()
            assert other.findings == []
        thread.join(30)
        assert not thread.is_alive() and trip.findings == [] and trip.facts["run_id"]


def test_the_lock_is_for_its_user_alone() -> None:
    with alone("taking-turns"):
        assert Path(lock_file("taking-turns")).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("late", "found"), [(1, ""), (3, ""), (1000, "probes-collide")])
def test_a_read_may_be_late(monkeypatch: pytest.MonkeyPatch, late: int, found: str) -> None:
    """The server reads from replicas of its database. The first answers are to the run that is made, whose experiment was made a moment before."""
    monkeypatch.setattr(round_trip, "READ_AGAIN", 0)
    monkeypatch.setattr(round_trip, "READ_WITHIN", 0.5)
    with serving(FakeTracking()) as fake:
        assert isinstance(fake, FakeTracking)
        fake.late = late
        trip = RoundTrip(server_of(fake), "late", 1000)
        trip.run()
        assert [finding.fault.id for finding in trip.findings] == ([found] if found else [])
        # The run is there, and what is logged is read a little later.
        fake.late = late
        again = RoundTrip(server_of(fake), "late", 1000)
        again.run()
        assert len(again.findings) == bool(found) and fake.late == (fake.late if found else 0)
