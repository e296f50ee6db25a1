import io
import logging
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import UsageError
from stylegan2_ada.dataset import Dataset, load
from stylegan2_ada.decoding import _AHEAD

from tests.stylegan2_ada.archives import (
    declared_png,
    labels_file,
    png,
    squares,
    write_archive,
    write_folder,
    write_zip,
)

CPU = torch.device("cpu")


def open_archive(path: Path, names: list[str] | None = None, **changes: object) -> Dataset:
    settings = {"resolution": 8, "channels": 1, "mirror": False} | changes
    return load(path, members=names, **settings)  # type: ignore[arg-type]


def numbered(count: int, mirror: bool) -> Dataset:
    """Images that show their own number, on the left."""
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, :, 0] = torch.arange(1, count + 1, dtype=torch.uint8)[:, None]
    return Dataset(images=images, digest="", mirror=mirror)


def test_indices_beyond_the_images_show_them_mirrored() -> None:
    images = numbered(5, mirror=True)
    batch, labels = images.batch(np.array([0, 4, 5, 9]), CPU)
    bytes_ = ((batch + 1) * 127.5).round().int()
    assert images.size == 10 and labels is None
    assert bytes_[:, 0, 0, 0].tolist() == [1, 5, 0, 0]
    assert bytes_[:, 0, 0, 7].tolist() == [0, 0, 1, 5]


def test_labels_go_with_their_images_mirrored_or_not() -> None:
    images = replace(numbered(5, mirror=True), labels=torch.eye(5))
    _, labels = images.batch(np.array([3, 8]), CPU)
    assert labels is not None and labels.argmax(dim=1).tolist() == [3, 3]


def test_images_kept_on_a_device_are_the_same_images() -> None:
    images = numbered(5, mirror=True)
    kept = replace(images, images=torch.zeros_like(images.images), resident=images.images)
    order = np.array([4, 0, 9, 5])
    assert torch.equal(kept.batch(order, CPU)[0], images.batch(order, CPU)[0])
    assert images.kept_on(CPU).resident is None


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_on_the_host() -> None:
    images, cuda, order = numbered(5, mirror=True), torch.device("cuda"), np.array([4, 0, 9, 5])
    kept = images.kept_on(cuda)
    assert kept.resident is not None and kept.resident.is_cuda
    for some in (images, kept):
        assert torch.equal(some.batch(order, cuda)[0].cpu(), images.batch(order, CPU)[0])


def test_only_named_members_are_read_in_their_order(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    every, some = open_archive(tmp_path / "a.zip"), open_archive(tmp_path / "a.zip", names[9:1:-1])
    assert torch.equal(some.images, every.images[torch.arange(9, 1, -1)])
    assert some.digest != every.digest


def test_a_folder_is_as_good_as_a_zip(tmp_path: Path) -> None:
    files = {"readme.txt": b"no image", "images/._001.png": b"a note of macOS", **squares()}
    zipped = open_archive(write_zip(tmp_path / "a.zip", files))
    folder = open_archive(write_folder(tmp_path / "a", files))
    assert len(folder.images) == 12
    assert folder.digest == zipped.digest and torch.equal(folder.images, zipped.images)


def test_a_subset_is_drawn_by_the_seed(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", count=20)
    every = open_archive(tmp_path / "a.zip")
    some = open_archive(tmp_path / "a.zip", subset=8, seed=0)
    assert torch.equal(some.images, every.images[[1, 6, 8, 10, 13, 17, 18, 19]])
    assert open_archive(tmp_path / "a.zip", subset=8, seed=1).digest != some.digest
    with pytest.raises(UsageError, match="subset=21 of 20 images; valid: 0 for all, or up to 20"):
        open_archive(tmp_path / "a.zip", subset=21)


def test_an_image_of_a_subset_keeps_its_label_mirrored_or_not(tmp_path: Path) -> None:
    """Each one shows its own number on its left, which is its label too."""
    numbers = np.arange(1, 21)
    files = {f"{number:02}.png": png(np.pad([[number]] * 8, ((0, 0), (0, 7)))) for number in numbers}
    rows = [[name, [int(number)]] for name, number in zip(files, numbers, strict=True)]
    path = write_zip(tmp_path / "a.zip", files | labels_file(rows))
    images = open_archive(path, subset=8, seed=3, mirror=True, use_labels=True)
    batch, labels = images.batch(np.arange(16), CPU)
    assert labels is not None and len(labels.unique()) == 8 and labels.max() > 8
    shown = ((batch[:, 0, 0] + 1) * 127.5).round()
    assert torch.equal(shown[:8, :1], labels[:8]) and torch.equal(shown[8:, -1:], labels[8:])


def test_larger_images_are_averaged_over_area_and_values_are_minus_one_to_one(tmp_path: Path) -> None:
    checkers = np.indices((16, 16)).sum(axis=0) % 2 * 200
    files = {"a.png": png(checkers), "b.png": png(np.full((16, 16), 255)), **squares()}
    images = open_archive(write_zip(tmp_path / "a.zip", files))
    assert images.images[0].unique().tolist() == [100]
    batch, _ = images.batch(np.array([0, 1]), CPU)
    assert batch.max() == 1 and batch.shape == (2, 1, 8, 8)


def test_smaller_images_are_interpolated(tmp_path: Path) -> None:
    ramp = png(np.tile(np.arange(4) * 80, (4, 1)))
    row = open_archive(write_zip(tmp_path / "a.zip", {"a.png": ramp, **squares()})).images[0, 0, 3]
    assert row.diff().gt(0).all() and row[0] <= 20 and row[-1] >= 220


def test_resizing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = squares(count=9, side=8) | {"images/large.png": png(np.arange(256).reshape(16, 16))}
    archive = write_zip(tmp_path / "a.zip", files)
    with caplog.at_level(logging.INFO, "stylegan2_ada"):
        open_archive(archive)
    assert "1 in 10 images resized to 8 pixels" in caplog.text


def test_smaller_images_are_enlarged(tmp_path: Path) -> None:
    files = {"a.png": png(np.full((4, 4), 77)), **squares()}
    assert open_archive(write_zip(tmp_path / "a.zip", files)).images[0].unique().tolist() == [77]


def test_colour_is_read_as_three_channels_and_grey_as_three_equal_ones(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3))
    image[..., 2] = 255
    files = {"a.png": png(image), **squares()}
    images = open_archive(write_zip(tmp_path / "a.zip", files), channels=3)
    assert images.images[0, :, 0, 0].tolist() == [0, 0, 255]
    assert (images.images[1, 0] == images.images[1, 2]).all()


def test_colour_becomes_grey_by_luma_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = np.full((8, 8, 3), (200, 100, 50))
    path = write_zip(tmp_path / "a.zip", {"a.png": png(image), **squares()})
    open_archive(path, channels=3)
    assert not caplog.records
    images = open_archive(path)
    assert f"colour of 1 in {len(images.images)} images dropped" in caplog.text
    expected = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert images.images[0].float().sub(expected).abs().max() <= 1


@pytest.mark.parametrize(("mode", "suffix"), [
    ("L", "png"), ("LA", "png"), ("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("1", "png"), ("P", "gif"),
    ("L", "jpg"), ("RGB", "jpeg"), ("CMYK", "jpg"), ("RGB", "bmp"), ("RGB", "tif"), ("RGB", "webp"),
    ("L", "pgm"),
])  # fmt: skip
def test_eight_bit_images_of_every_kind_are_read(tmp_path: Path, mode: str, suffix: str) -> None:
    path = write_folder(tmp_path / "a", squares()) / f"a.{suffix}"
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    for channels in (1, 3):
        images = open_archive(tmp_path / "a", channels=channels)
        assert len(images.images) == 13 and images.images[0].min() > 250


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    picture.paste((10, 20, 30, 255), (0, 0, 8, 4))
    path = write_folder(tmp_path / "a", squares()) / "a.png"
    picture.save(path)
    image = open_archive(tmp_path / "a", channels=3).images[0]
    assert image[:, 0, 0].tolist() == [10, 20, 30] and image[:, 4:].max() == 0


def test_other_shapes_are_refused_or_cropped_to_their_centre(tmp_path: Path) -> None:
    image = np.zeros((8, 12))
    image[:, 2:10] = 90
    path = write_zip(tmp_path / "a.zip", {"a.png": png(image), **squares()})
    with pytest.raises(UsageError, match=r"a\.png has 12 x 8 pixels; valid: square images, or fit=crop"):
        open_archive(path)
    assert open_archive(path, fit="crop").images[0].unique().tolist() == [90]
    path = write_zip(tmp_path / "tall.zip", {"a.png": png(image.T), **squares()})
    assert open_archive(path, fit="crop").images[0].unique().tolist() == [90]


def test_images_keep_their_order_however_many_are_decoded_at_once(tmp_path: Path) -> None:
    files = {f"{number:03}.png": png(np.full((8, 8), number)) for number in range(3 * _AHEAD)}
    path = write_zip(tmp_path / "a.zip", files)
    assert open_archive(path).images[:, 0, 0, 0].tolist() == list(range(3 * _AHEAD))


def test_classes_become_zeros_and_ones(tmp_path: Path) -> None:
    files = squares()
    rows = [[name, number % 3 + 1] for number, name in enumerate(files)]
    path = write_zip(tmp_path / "a.zip", files | labels_file(rows))
    labels = open_archive(path, list(files)[:9], use_labels=True).labels
    assert labels is not None and labels.shape == (9, 4) and labels.dtype == torch.float32
    assert labels.sum(dim=1).eq(1).all()
    assert labels.argmax(dim=1).tolist() == [1, 2, 3] * 3
    assert open_archive(path).labels is None


def test_one_class_is_no_condition(tmp_path: Path) -> None:
    files = squares()
    archive = write_zip(tmp_path / "a.zip", files | labels_file([[name, 0] for name in files]))
    with pytest.raises(UsageError, match="knows one class alone; valid: two classes or more"):
        open_archive(archive, use_labels=True)


def test_vectors_are_labels_as_they_are(tmp_path: Path) -> None:
    files = squares()
    rows = [[name, [0.5, -number]] for number, name in enumerate(files)]
    images = open_archive(write_zip(tmp_path / "a.zip", files | labels_file(rows)), use_labels=True)
    assert images.labels is not None
    assert images.labels.tolist() == [[0.5, -number] for number in range(12)]


def test_names_pixels_and_labels_decide_the_digest(tmp_path: Path) -> None:
    files = squares()
    renamed = {name.replace("images", "pictures"): content for name, content in files.items()}
    classes = [[[name, number % 2] for number, name in enumerate(files)] for _ in range(2)]
    classes[1][0][1] = 1
    sets = [files, files, squares(seed=1), renamed, *(files | labels_file(rows) for rows in classes)]
    digests = [
        open_archive(write_zip(tmp_path / f"{number}.zip", each), use_labels="dataset.json" in each).digest
        for number, each in enumerate(sets)
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 5


def test_too_many_images_for_the_memory_are_refused_before_one_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", dict.fromkeys(squares(), b"no image"))
    with pytest.raises(UsageError, match=r"12 images take .* GiB are allowed; valid: subset=10 or less"):
        open_archive(path, memory=10 * 64)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_images_are_refused(tmp_path: Path, count: int) -> None:
    path = write_zip(tmp_path / "a.zip", squares(count))
    with pytest.raises(UsageError, match=rf"{count} image\(s\), too few to train on; valid: at least 8"):
        open_archive(path)
    assert len(open_archive(write_zip(path, squares(8))).images) == 8


def test_copies_of_one_image_are_one_image(tmp_path: Path) -> None:
    same = dict.fromkeys(squares(), png(np.full((8, 8), 5)))
    with pytest.raises(UsageError, match=r"1 different image\(s\), too few"):
        open_archive(write_zip(tmp_path / "a.zip", same))


def test_members_are_names_of_images_once_each(tmp_path: Path) -> None:
    names = write_archive(tmp_path / "a.zip")
    with pytest.raises(UsageError, match=r"'absent\.png' is not in it"):
        open_archive(tmp_path / "a.zip", [*names, "absent.png"])
    with pytest.raises(UsageError, match=r"images/000\.png is named twice"):
        open_archive(tmp_path / "a.zip", [*names, names[0]])


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UsageError, match="not a zip; valid: a zip or a folder of images"):
        open_archive(tmp_path / "text.zip")
    with pytest.raises(UsageError, match="not found"):
        open_archive(tmp_path / "absent.zip")


def test_sixteen_bits_are_refused_rather_than_cut(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(buffer, "PNG")
    with pytest.raises(UsageError, match=r"deep\.png has pixels of type I;16; valid: 8 bits"):
        open_archive(write_zip(tmp_path / "a.zip", {"deep.png": buffer.getvalue(), **squares()}))


@pytest.mark.parametrize(("name", "kind"), [("deep.pgm", "I"), ("deep.tif", "I;16B"), ("real.tif", "F")])
def test_more_than_eight_bits_are_refused_in_any_file_that_can_hold_them(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = write_folder(tmp_path / "a", squares()) / name
    if name == "deep.pgm":
        path.write_bytes(b"P5 8 8 65535\n" + np.full((8, 8), 40000, ">u2").tobytes())
    else:
        pixels = np.full((8, 8), 40000, np.float32 if kind == "F" else ">u2")
        Image.fromarray(pixels).save(path)
    with pytest.raises(UsageError, match=rf"{name} has pixels of type {kind}; valid: 8 bits"):
        open_archive(tmp_path / "a")


def deep(name: str) -> bytes:
    """Return an image of 8 x 8 pixels of 16 bits a channel, as Pillow reads, but does not write them."""
    kind, samples = {"grey_alpha.png": (4, 2), "alpha.png": (6, 4)}.get(name, (2, 3))
    row = np.full(8 * samples, 40000, ">u2").tobytes()
    if name.endswith(".png"):
        return declared_png(8, 8, depth=16, kind=kind, rows=(b"\0" + row) * 8)
    if name.endswith(".ppm"):
        return b"P6 8 8 65535\n" + row * 8
    tags = ((256, 8), (257, 8), (258, 110), (259, 1), (262, 2), (273, 116), (277, 3), (279, 384))
    counts = {258: 3}  # one number of bits for each channel; they are at 110, and the pixels behind them
    rows = [struct.pack(">HHII", tag, 3 if tag in counts else 4, counts.get(tag, 1), v) for tag, v in tags]
    return b"MM\0*\0\0\0\x08\0\x08" + b"".join(rows) + bytes(4) + b"\0\x10" * 3 + row * 8


@pytest.mark.parametrize("name", ["deep.png", "alpha.png", "grey_alpha.png", "deep.ppm", "deep.tif"])
def test_sixteen_bits_of_colour_are_refused_though_pillow_would_cut_them(tmp_path: Path, name: str) -> None:
    path = write_folder(tmp_path / "a", {name: deep(name), **squares()})
    with Image.open(path / name) as image:
        image.load()
        assert image.mode in ("RGB", "RGBA")  # without a word
    with pytest.raises(UsageError, match=rf"{name} has 16 bits a channel; valid: 8 bits a channel"):
        open_archive(path)


def test_classes_are_counted_over_all_labels_whichever_images_are_chosen(tmp_path: Path) -> None:
    """Else a subset without the last class would make networks that fit no other."""
    files = squares()
    rows = [[name, 4 if number == 11 else number % 2] for number, name in enumerate(files)]
    path = write_zip(tmp_path / "a.zip", files | labels_file(rows))
    labels = open_archive(path, list(files)[:10], use_labels=True).labels
    assert labels is not None and labels.shape == (10, 5)
