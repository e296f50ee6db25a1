"""Archives that somebody made to do harm, or broke: one line, before anything is decoded."""

import io
import json
import os
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stylegan2_ada import UsageError
from stylegan2_ada.dataset import Dataset, load
from stylegan2_ada.image_files import opened

from tests.stylegan2_ada.archives import declared_png, labels_file, png, squares, write_folder, write_zip

NAMES = list(squares())


def read(path: Path, *, use_labels: bool = False) -> Dataset:
    return load(path, resolution=8, channels=1, mirror=False, use_labels=use_labels)


def refusal(path: Path, *, use_labels: bool = False) -> str:
    """Return the one line of a refusal."""
    with pytest.raises(UsageError) as caught:
        read(path, use_labels=use_labels)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and text.startswith(f"data={path}: ") and "; valid: " in text
    return text


@pytest.mark.parametrize("name", [
    "../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "C:x.png", "..\\x.png", "\\\\host\\x.png",
    "a\nb.png", "../",
])  # fmt: skip
def test_a_name_that_leaves_the_archive(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {**squares(), name: b""})
    assert f"unsafe file name {name!r}" in refusal(path)


def test_a_symbolic_link(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", squares())
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("link.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert "link.png is a symbolic link" in refusal(path)


def test_an_encrypted_file(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "a.zip", squares()).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flags of the last entry
    (tmp_path / "a.zip").write_bytes(content)
    assert f"{NAMES[-1]} is encrypted" in refusal(tmp_path / "a.zip")


def test_a_name_twice(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", squares())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(NAMES[3], b"")
    assert f"{NAMES[3]} is in it twice" in refusal(path)


def test_an_empty_zip_and_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (write_zip(tmp_path / "a.zip", {}), tmp_path / "folder"):
        assert "0 image(s), too few to train on" in refusal(path)


def test_a_file_that_inflates_without_measure(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", squares())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(2**24))
    assert "bomb.png inflates from" in refusal(path)


def test_a_file_that_declares_more_than_is_ever_read(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "a.zip", squares()).read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 2**31)  # the last entry's size
    (tmp_path / "a.zip").write_bytes(content)
    assert f"{NAMES[-1]} has 2147483648 bytes; valid: at most" in refusal(tmp_path / "a.zip")


def test_a_zip_that_lies_of_a_size_inflates_no_further(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, squares())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.png", bytes(2**24))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 1000)
    path.write_bytes(content)
    assert "z.png is damaged or no image" in refusal(path)


def test_a_compression_that_inflates_at_once(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", squares())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("b.png", bytes(1000))
    assert "b.png is compressed by method 12; valid: stored, deflated" in refusal(path)


# 3.2 GB, 300 MB (where Pillow would only warn) and 201 MB (where it would say nothing).
@pytest.mark.parametrize(("width", "height"), [(32768, 32768), (10000, 10000), (8192, 8193)])
def test_an_image_that_declares_gigabytes(tmp_path: Path, width: int, height: int) -> None:
    path = write_zip(tmp_path / "a.zip", {**squares(), "big.png": declared_png(width, height)})
    began = time.process_time()
    assert "big.png" in refusal(path) and "at most 67108864" in refusal(path)
    assert time.process_time() - began < 5  # filling the pixels alone would take longer, twice


def test_a_truncated_image(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64))
    buffer = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(buffer, "JPEG")
    for name, whole in (("cut.png", png(noise)), ("cut.jpg", buffer.getvalue())):
        for length in (0, 10, 200, len(whole) // 2):
            path = write_zip(tmp_path / "a.zip", {**squares(), name: whole[:length]})
            assert f"{name} is damaged or no image" in refusal(path)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {**squares(), "text.png": b"not an image at all"})
    assert "text.png is damaged or no image; valid: whole files of PNG, JPEG" in refusal(path)


def test_a_format_that_runs_programs_is_no_image(tmp_path: Path) -> None:
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    path = write_zip(tmp_path / "a.zip", {**squares(), "page.png": program})
    assert "page.png is damaged or no image" in refusal(path)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", squares())
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert len(read(tmp_path / "a").images) == 12


def test_a_damaged_zip(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "a.zip", squares()).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    assert "not a zip" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(whole.replace(b"PK\x03\x04", b"PK\x03\x05"))
    assert f"{NAMES[0]} is damaged" in refusal(tmp_path / "a.zip")


BAD_LABELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "not JSON": (lambda: b'{"labels": [', "dataset.json is no JSON"),
    "not text": (lambda: b"\xff\xfe\x00", "dataset.json is no JSON"),
    "nested": (lambda: b"[" * 10**6, "dataset.json is no JSON"),
    "a list": (lambda: b"[]", "dataset.json is no JSON with labels"),
    "no labels": (lambda: rows(None), "no labels in dataset.json"),
    "no list": (lambda: rows({"a": 1}), "dataset.json holds no list of labels"),
    "a bad row": (lambda: rows([["x"]]), "dataset.json has the row \"['x']\""),
    "one missing": (lambda: rows([[name, 0] for name in NAMES[:-1]]), f"{NAMES[-1]} has no label"),
    "unknown name": (lambda: rows([["other.png", 0]]), "has a label for 'other.png', which is not there"),
    "twice": (lambda: rows([[NAMES[0], 0], [NAMES[0], 1]]), f"two labels for {NAMES[0]}"),
    "lengths": (
        lambda: rows([[NAMES[0], [1, 2]], [NAMES[1], [1]]]),
        f"{NAMES[1]} a vector of 1, others a ve",
    ),
    "kinds": (lambda: rows([[NAMES[0], 1], [NAMES[1], [1]]]), f"{NAMES[1]} a vector of 1, others a class"),
    "NaN": (lambda: rows([[NAMES[0], [float("nan")]]]), f"'{NAMES[0]}' the label '[nan]'"),
    "infinite": (lambda: rows([[NAMES[0], [float("inf")]]]), "the label '[inf]'"),
    "too large": (lambda: rows([[NAMES[0], [10**400]]]), "or a list of up to"),
    "beyond float32": (lambda: rows([[NAMES[0], [1e39]]]), "the label '[1e+39]'"),
    "empty vector": (lambda: rows([[NAMES[0], []]]), "the label '[]'"),
    "negative": (lambda: rows([[NAMES[0], -1]]), "the label '-1'; valid: a class 0..16383"),
    "billions of classes": (lambda: rows([[NAMES[0], 10**9]]), "the label '1000000000'"),
    "a truth": (lambda: rows([[NAMES[0], True]]), "the label 'True'"),
    "a word": (lambda: rows([[NAMES[0], "cat"]]), "the label 'cat'"),
    "no name": (lambda: rows([[3, 3]]), "has the row '[3, 3]'"),
}


def rows(labels: object) -> bytes:
    return labels_file(labels)["dataset.json"]


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_do_not_match(tmp_path: Path, case: str) -> None:
    content, expected = BAD_LABELS[case]
    path = write_zip(tmp_path / "a.zip", {**squares(), "dataset.json": content()})
    assert expected in refusal(path, use_labels=True)
    assert len(read(path).images) == 12  # nobody asked for labels


def test_conditional_training_without_labels(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", squares())
    assert "no labels in dataset.json" in refusal(path, use_labels=True)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a few bytes, or cut or repeat a stretch."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(changed)))
        match rng.integers(3):
            case 0:
                changed[place] = int(rng.integers(256))
            case 1:
                del changed[place : place + int(rng.integers(1, 20))]
            case _:
                changed[place:place] = changed[place : place + int(rng.integers(1, 20))]
        if not changed:
            break
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on metadata are not the point
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "pgm"])
def test_damage_anywhere_in_an_image_is_blamed_on_it_or_harmless(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    folder = write_folder(tmp_path / "a", squares(8))
    path = folder / f"z.{suffix}"
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).convert("L").save(path)
    whole = path.read_bytes()
    for _ in range(60):
        path.write_bytes(damaged(whole, rng))
        try:
            load(folder, resolution=8, channels=1, mirror=False, fit="crop")
        except UsageError as error:
            assert f"z.{suffix} " in str(error)


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_in_a_zip_is_blamed_on_it_or_harmless(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = {**squares(8), **labels_file([[name, 1] for name in squares(8)])}
    whole = write_zip(tmp_path / "a.zip", files).read_bytes()
    directory = whole.index(b"PK\x01\x02")
    for _ in range(200):
        (tmp_path / "a.zip").write_bytes(whole[:directory] + damaged(whole[directory:], rng))
        try:
            read(tmp_path / "a.zip", use_labels=True)
        except UsageError as error:
            assert len(str(error).splitlines()) == 1


def test_the_names_of_a_large_zip_are_checked_at_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(5000):
            archive.writestr(f"{number}.png", b"")
        archive.writestr("dataset.json", json.dumps({"labels": None}))
    with opened(tmp_path / "a.zip") as files:
        assert len(files.images()) == 5000
