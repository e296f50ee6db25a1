import numpy as np
import pytest
import torch

from components.judge_synthetic import likeness
from components.judge_synthetic.likeness import nearest, views_of
from tests.judge_synthetic.conftest import seen_by, write_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(planes, splits):
    return seen_by(planes, splits, "train")[10:40]


CHANGES = {
    "as it is": lambda x: x,
    "mirrored": lambda x: x[:, ::-1],
    "shifted": lambda x: np.roll(x, (3, -2), (0, 1)),
    "darker": lambda x: (x * 0.7).astype(np.uint8),
    "smaller": lambda x: likeness.shrunk(np.ascontiguousarray(x), 64),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_plane_is_like_itself_however_it_is_shown(pictures, change, tmp_path):
    shown = [change(image_HW) for image_HW in pictures]
    first, second = (
        write_images(tmp_path / name, images, [], side=128)
        for name, images in (("a", pictures), ("b", shown))
    )
    found = nearest(views_of(second, second.rows, CPU), views_of(first, first.rows, CPU))
    assert found.index_N.tolist() == list(range(len(pictures)))
    assert found.likeness_N.min() > 0.985
    assert found.likeness_N.max() <= 1 + 1e-5


def test_blocks_change_nothing(pictures, tmp_path, monkeypatch):
    images = write_images(tmp_path, pictures, [])
    views_NHW = views_of(images, images.rows, CPU)
    each = torch.arange(len(pictures))
    allowed = lambda start, end: each[start:end, None] != each  # noqa: E731
    whole = nearest(views_NHW, views_NHW, allowed)
    monkeypatch.setattr(likeness, "_BLOCK", 7)
    monkeypatch.setattr(likeness, "_PAIRS", 9)
    parts = nearest(views_NHW, views_NHW, allowed)
    assert parts.index_N.tolist() == whole.index_N.tolist()
    assert np.allclose(parts.likeness_N, whole.likeness_N, atol=1e-5)
    assert not (whole.index_N == each.numpy()).any()


def test_nothing_to_compare_with_is_told(pictures, tmp_path):
    images = write_images(tmp_path, pictures, [])
    views_NHW = views_of(images, images.rows, CPU)
    none = nearest(views_NHW, views_NHW, lambda start, end: torch.zeros(end - start, len(pictures)) > 0)
    assert (none.likeness_N == -1).all() and (none.index_N == -1).all()


def test_a_blank_picture_is_like_nothing(pictures, tmp_path):
    images = write_images(tmp_path, [np.zeros((64, 64), np.uint8), *pictures], [])
    views_NHW = views_of(images, images.rows, CPU)
    assert views_NHW.isfinite().all()
    assert abs(nearest(views_NHW[:1], views_NHW[1:]).likeness_N[0]) < 0.01
