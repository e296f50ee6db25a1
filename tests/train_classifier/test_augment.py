import torch

from components.train_classifier.augment import augment


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_keeps_shape_and_range_and_is_seeded():
    grey_NHW = torch.rand(6, 24, 24, generator=seeded(0))
    once, again, other = (augment(grey_NHW, seeded(seed)) for seed in (1, 1, 2))
    assert once.shape == grey_NHW.shape
    assert once.min() >= 0
    assert once.max() <= 1
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_lying_bar_stays_lying():
    bar_HW = torch.zeros(32, 32)
    bar_HW[14:18, 4:28] = 0.5
    moved_NHW = augment(bar_HW.expand(64, 32, 32), seeded(0))
    spread_rows = moved_NHW.sum(dim=2).std(dim=1)
    spread_columns = moved_NHW.sum(dim=1).std(dim=1)
    assert torch.all(spread_rows > spread_columns)


def test_half_of_the_planes_are_mirrored():
    left_HW = torch.zeros(32, 32)
    left_HW[:, :16] = 0.8
    moved_NHW = augment(left_HW.expand(400, 32, 32), seeded(0))
    on_left = (moved_NHW[:, :, :16].mean(dim=(1, 2)) > moved_NHW[:, :, 16:].mean(dim=(1, 2))).float().mean()
    assert 0.4 < on_left < 0.6
