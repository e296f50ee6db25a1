"""The heuristic that adapts the augmentation probability (arXiv 2006.06676, Section 3)."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Controller:
    """Raises p while the discriminator is too sure of training images, and lowers it otherwise."""

    target: float  # of r_t = E[sign(D(real))]
    images: float  # over which p can go from 0 to 1
    maximum: float  # beyond about 0.8, augmentations leak into the generated images
    p: float = 0.0
    sign_sum: float = 0.0
    sign_count: int = 0

    def observe(self, sign_sum: float, count: int) -> None:
        """Record the signs of logits of training images."""
        self.sign_sum += sign_sum
        self.sign_count += count

    def update(self, images: int) -> None:
        """Move p one step for the images seen since the last step (Equation 1), and forget the signs."""
        if self.sign_count == 0:
            return
        r_t = self.sign_sum / self.sign_count
        step = images / self.images
        sign = (r_t > self.target) - (r_t < self.target)
        self.p = min(max(self.p + sign * step, 0.0), self.maximum)
        self.sign_sum, self.sign_count = 0.0, 0
