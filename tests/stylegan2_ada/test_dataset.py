import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from stylegan2_ada import UsageError
from stylegan2_ada.dataset import Dataset, image_members, load

from tests.stylegan2_ada.archives import png, write_archive

CPU = torch.device("cpu")


def open_archive(path: Path, names: list[str], **changes: object) -> Dataset:
    settings = {"resolution": 8, "channels": 1, "mirror": False, "seed": 0} | changes
    return load(path, names, **settings)  # type: ignore[arg-type]


def numbered(count: int, mirror: bool) -> Dataset:
    """Images that show their own number, on the left."""
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, :, 0] = torch.arange(1, count + 1, dtype=torch.uint8)[:, None]
    return Dataset(images=images, digest="", mirror=mirror, seed=3)


def numbers(batch: torch.Tensor) -> list[int]:
    return ((batch + 1) * 127.5).round().amax(dim=(1, 2, 3)).int().tolist()


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    images = numbered(7, mirror=False)
    shown = numbers(images.batch(0, 21, CPU))
    epochs = [shown[k : k + 7] for k in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(1, 8)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_depends_on_the_images_seen_alone() -> None:
    images = numbered(7, mirror=True)
    whole = images.batch(0, 40, CPU)
    for first, count in ((0, 4), (12, 4), (13, 20), (36, 4)):
        assert torch.equal(images.batch(first, count, CPU), whole[first : first + count])


def test_mirroring_shows_every_image_both_ways() -> None:
    batch = numbered(5, mirror=True).batch(0, 10, CPU)
    left = [number for number, image in zip(numbers(batch), batch, strict=True) if image[0, 0, 0] > -1]
    assert Counter(numbers(batch)) == dict.fromkeys(range(1, 6), 2)
    assert sorted(left) == [1, 2, 3, 4, 5]


def test_only_named_members_are_read_in_their_order(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    every, some = open_archive(tmp_path / "a.zip", names), open_archive(tmp_path / "a.zip", names[5:2:-1])
    assert torch.equal(some.images, every.images[[5, 4, 3]])
    assert some.digest != every.digest
    assert image_members(tmp_path / "a.zip") == names


def test_larger_images_are_averaged_over_area_and_values_are_minus_one_to_one(tmp_path: Path) -> None:
    checkers = np.indices((16, 16)).sum(axis=0) % 2 * 200
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(checkers))
        archive.writestr("b.png", png(np.full((16, 16), 255)))
    images = open_archive(tmp_path / "a.zip", ["a.png", "b.png"])
    assert images.images[0].unique().tolist() == [100]
    batch = images.batch(0, 2, CPU)
    assert batch.max() == 1 and batch.shape == (2, 1, 8, 8)


def test_colour_is_read_as_three_channels(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3))
    image[..., 2] = 255
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(image))
        archive.writestr("b.png", png(image))
    images = open_archive(tmp_path / "a.zip", ["a.png", "b.png"], channels=3)
    assert images.images[0, :, 0, 0].tolist() == [0, 0, 255]


def test_contents_decide_the_digest(tmp_path: Path) -> None:
    digests = set()
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.zip"
        digests.add(open_archive(path, write_archive(path, seed=seed)).digest)
    assert len(digests) == 2


def test_bad_archives_are_refused(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "wide.zip", "w") as archive:
        archive.writestr("a.png", png(np.zeros((8, 9))))
    with pytest.raises(UsageError, match="not a zip"):
        open_archive(tmp_path / "text.zip", names)
    with pytest.raises(UsageError, match=r"absent\.png is not in it"):
        open_archive(tmp_path / "a.zip", [*names, "absent.png"])
    with pytest.raises(UsageError, match="at least 2"):
        open_archive(tmp_path / "a.zip", names[:1])
    with pytest.raises(UsageError, match="9 x 8 pixels"):
        open_archive(tmp_path / "wide.zip", ["a.png", "a.png"])
