"""Measured values: pairs of values from rounds in turns, their statistics, and when a ratio has fallen."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

#: The part of a reference at which a ratio counts as fallen. Machines are noisy, so it is far below.
FALLEN = 0.5


@dataclasses.dataclass(frozen=True)
class Pair:
    """Something that was measured twice in each round: ours, and what it is compared with."""

    row: str
    what: str
    unit: str
    #: What the values are compared with.
    other: str
    ours_values: list[float]
    other_values: list[float]
    #: Whether a greater value is a better one: requests per second, but not seconds.
    more_is_better: bool = True
    #: The ratio to reach, ours by the other.
    aim: float | None = None
    #: The name of ours, if it is not what the collection sets up by default.
    ours: str = "ours"

    def __post_init__(self) -> None:
        """Refuse values that are no rounds in turns.

        :raises ValueError: If there are none, one side has more than the other, or one is not above zero.
        """
        if not self.ours_values or len(self.ours_values) != len(self.other_values):
            raise ValueError(f"{self.what}: {len(self.ours_values)} values of ours, {len(self.other_values)} of {self.other}")
        if min(*self.ours_values, *self.other_values) <= 0:
            raise ValueError(f"{self.what}: a value is not above zero")

    @property
    def name(self) -> str:
        """Return the name of the pair, unique among all."""
        return f"{self.row}: {self.what}, {self.ours} / {self.other}"

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each round, ours by the other."""
        return [one / other for one, other in zip(self.ours_values, self.other_values)]

    @property
    def ratio(self) -> float:
        """Return the median of the ratios. It is not the ratio of the medians: both values of a ratio are from one round."""
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool | None:
        """Return whether the ratio reaches the aim, None if there is none."""
        if self.aim is None:
            return None
        return self.ratio >= self.aim if self.more_is_better else self.ratio <= self.aim

    def document(self) -> dict[str, Any]:
        """Return the pair for a JSON document."""
        return dataclasses.asdict(self)


def read(document: Iterable[Mapping[str, Any]]) -> list[Pair]:
    """Return the pairs of a JSON document."""
    return [Pair(**given) for given in document]


def number(value: float) -> str:
    """Return a value with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(part: float) -> str:
    """Return a part of something in whole percent."""
    return f"{part * 100:.0f} %"


def spread(values: list[float]) -> float:
    """Return the difference between the greatest and the least value, as a part of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def fallen(pairs: Iterable[Pair], references: Mapping[str, float]) -> list[str]:
    """Return a complaint for each pair that is twice as bad as its reference.

    :param references: The ratio of each pair when it was recorded, by the pair's name.
    :raises KeyError: If a pair has no reference: it would never be compared.
    """
    complaints = []
    for pair in pairs:
        reference = references[pair.name]
        limit = reference * FALLEN if pair.more_is_better else reference / FALLEN
        if pair.ratio < limit if pair.more_is_better else pair.ratio > limit:
            way = "below half of" if pair.more_is_better else "above twice"
            rounds = ", ".join(f"{ratio:.2f}" for ratio in pair.ratios)
            complaints.append(f"{pair.name}: the ratio is {pair.ratio:.2f} (rounds: {rounds}), {way} the reference {reference:.2f}.")
    return complaints
