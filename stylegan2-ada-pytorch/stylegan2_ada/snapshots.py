"""What is judged at a snapshot: whether the images still differ, and whether they are the best so far."""

import logging
import math
from dataclasses import dataclass

from torch import Tensor

from stylegan2_ada.errors import CollapseError

log = logging.getLogger(__name__)

_ALIKE = 3  # snapshots in a row without differing images: chance and a slow start pass


def deviation(images: Tensor) -> float:
    """Return how much a pixel varies between images, uint8 N x C x H x W: its mean standard deviation."""
    return float(images.float().std(dim=0, correction=0).mean())


@dataclass(kw_only=True)
class Watch:
    """What the snapshots so far have shown."""

    best_kid: float = math.inf
    stale: int = 0  # snapshots since the best
    alike: int = 0  # snapshots in a row whose images hardly differ

    def compare(self, ratio: float, least: float, kimg: float) -> None:
        """Judge the deviation of generated images, as a ratio to that of real ones.

        Raises CollapseError at the third snapshot in a row with less than the least.
        """
        self.alike = self.alike + 1 if ratio < least else 0
        if not self.alike:
            return
        text = f"generated images differ {ratio:.2g} times as much as real ones after {kimg:g} kimg"
        if self.alike >= _ALIKE:
            raise CollapseError(f"{text}, the {_ALIKE}rd snapshot below collapse_ratio={least:g}")
        log.warning("%s: the generator may have collapsed", text)

    def is_better(self, kid: float) -> bool:
        """Record a snapshot's KID and tell whether it is the best so far."""
        better = kid < self.best_kid
        self.stale = 0 if better else self.stale + 1
        self.best_kid = min(kid, self.best_kid)
        return better
