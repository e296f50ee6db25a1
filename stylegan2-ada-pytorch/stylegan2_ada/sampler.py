"""The endless order in which a run shows its images."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


class Sampler:
    """Draws 0..size - 1 for ever: a shuffled list, walked round and round and reshuffled on the way.

    After an index is shown it changes places with one of the half list behind it, so that it comes back
    neither soon nor at a fixed distance. The order is that of the authors' code for the same seed.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._rng = np.random.RandomState(seed % 2**32)
        self._order: Indices = np.arange(size, dtype=np.int64)
        self._rng.shuffle(self._order)
        self._window = max(round(size / 2), 1)
        self._place = 0  # in the list

    def next(self, count: int) -> Indices:
        """Return the next indices."""
        size, order = len(self._order), self._order
        chosen: Indices = np.empty(count, dtype=np.int64)
        for number, back in enumerate(self._rng.randint(self._window, size=count).tolist()):
            here = (self._place + number) % size
            there = (here - back) % size
            chosen[number] = order[here]
            order[here], order[there] = order[there], order[here]
        self._place = (self._place + count) % size
        return chosen

    def state(self) -> dict[str, Tensor | int]:
        """Return all that `restore` needs, as a checkpoint can hold it."""
        _, key, position, *_ = self._rng.get_state(legacy=True)
        return {
            "order": torch.from_numpy(self._order.copy()),
            "place": self._place,
            "key": torch.from_numpy(np.asarray(key).astype(np.int64)),
            "position": int(position),
        }

    def restore(self, state: Mapping[str, Tensor | int]) -> None:
        """Go on from a state; ValueError where it is of another number of images."""
        order, key = (torch.as_tensor(state[name]).cpu().numpy() for name in ("order", "key"))
        if len(order) != len(self._order):
            raise ValueError(f"a sampler of {len(self._order)} images cannot go on from one of {len(order)}")
        self._order = order.copy()
        self._place = int(state["place"])
        self._rng.set_state(("MT19937", key.astype(np.uint32), int(state["position"]), 0, 0.0))


def subset_of(size: int, count: int, seed: int) -> Indices:
    """Return `count` of 0..size - 1, drawn by the seed as the authors' code does, in rising order."""
    order: Indices = np.arange(size, dtype=np.int64)
    np.random.RandomState(seed % 2**32).shuffle(order)
    return np.sort(order[:count])
