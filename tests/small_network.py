"""A classifier of two layers in the place of ResNet-18, for tests of what is done with classifiers.

What a network learns, how it is saved and where its head is are tested on the architectures themselves, as
whole pipelines are; a training of this one takes milliseconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from torch import Tensor, nn

from components.shared import classifier

WIDTHS = (3, 16, 32)


class SmallNetwork(nn.Module):
    """Two convolutions; its last layers bear ResNet's names."""

    def __init__(self, weights: None = None, num_classes: int = 3) -> None:
        super().__init__()
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise(WIDTHS)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(4 * WIDTHS[-1], num_classes)

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return logits, N x C."""
        logits_NC: Tensor = self.fc(self.avgpool(self.blocks(images_N3HW)).flatten(1))
        return logits_NC


@contextmanager
def small_networks() -> Iterator[None]:
    """Let the architecture `resnet18` be the small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(classifier.ARCHITECTURES, "resnet18", SmallNetwork)
        yield
