"""Which planes form which batch, decided before training and the same for the same seed.

Classes take places in turn and go on from batch to batch, so that in the long run their shares are equal, in
every round. Within a class, an accepted synthetic plane is drawn about as often as a labelled real one, and
never takes more than half of the class's places; so at least half of each batch is real.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]


@dataclass(kw_only=True)
class _Deck:
    """Deals its planes in shuffled order, over and over."""

    planes: Integers
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._left = self.planes[:0]

    def deal(self, size: int) -> Integers:
        """Return the next planes; all of them come by before one comes again."""
        while len(self._left) < size:
            self._left = np.concatenate([self._left, self.rng.permutation(self.planes)])
        dealt, self._left = self._left[:size], self._left[size:]
        return dealt


@dataclass(kw_only=True)
class _Class:
    """The planes of one class, real and pseudo-labelled, and how many places each kind has had."""

    real: _Deck
    pseudo: _Deck
    places: int = 0
    taken: int = 0  # by pseudo-labelled planes

    def deal(self, size: int) -> Integers:
        """Return planes for size places of one batch."""
        share = min(0.5, len(self.pseudo.planes) / (len(self.real.planes) + len(self.pseudo.planes)))
        self.places += size
        synthetic = min(size // 2, int(share * self.places) - self.taken)
        self.taken += synthetic
        dealt = self.real.deal(size - synthetic)
        return np.concatenate([dealt, self.pseudo.deal(synthetic)]) if synthetic else dealt


def batches(targets_N: Integers, synthetic_N: NDArray[np.bool_], batch: int, seed: int) -> Iterator[Integers]:
    """Yield the positions of the planes of each step, without end; every class needs a real plane."""
    rng = np.random.default_rng(seed)
    classes = [
        _Class(
            real=_Deck(planes=np.flatnonzero((targets_N == place) & ~synthetic_N), rng=rng),
            pseudo=_Deck(planes=np.flatnonzero((targets_N == place) & synthetic_N), rng=rng),
        )
        for place in np.unique(targets_N)
    ]
    for step in count():
        places = _places(step * batch, batch, len(classes))
        yield np.concatenate([one.deal(size) for one, size in zip(classes, places, strict=True)])


def _places(start: int, batch: int, classes: int) -> Sequence[int]:
    """Count the places of each class when they take turns; the turn goes on from batch to batch."""
    return [int(n) for n in np.bincount((start + np.arange(batch)) % classes, minlength=classes)]
