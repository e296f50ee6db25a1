import argparse
import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import UsageError
from stylegan2_ada.dataset import load
from stylegan2_ada.dataset_tool import add_arguments, convert, run

from tests.stylegan2_ada.archives import labels_file, png, squares, write_folder, write_zip


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def labels(path: Path) -> Any:
    return json.loads(contents(path)["dataset.json"])


def test_the_zip_is_as_the_authors_tools_write_it(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {**squares(12, side=16), "notes.txt": b""})
    assert convert(source, tmp_path / "out.zip") == 12
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == [*(f"00000/img{i:08}.png" for i in range(12)), "dataset.json"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        content = archive.read("00000/img00000003.png")
    assert len(content) > 16 * 16  # nothing is compressed
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (16, 16))
    assert labels(tmp_path / "out.zip") == {"labels": None}
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out.zip"]


def test_pixels_stay_as_they_are_and_equal_images_give_equal_bytes(tmp_path: Path) -> None:
    for number in range(2):
        convert(write_zip(tmp_path / f"{number}.zip", squares()), tmp_path / f"out{number}.zip")
    first, second = ((tmp_path / f"out{number}.zip").read_bytes() for number in range(2))
    assert first == second
    before, after = (
        load(tmp_path / name, resolution=8, channels=1, mirror=False).images for name in ("0.zip", "out0.zip")
    )
    assert torch.equal(before, after)


def test_one_colour_image_makes_all_of_them_colour(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "a.zip", {**squares(), "red.png": png(np.full((8, 8, 3), (255, 0, 0)))})
    convert(source, tmp_path / "out.zip")
    modes = set()
    for name, content in contents(tmp_path / "out.zip").items():
        if name.endswith(".png"):
            with Image.open(io.BytesIO(content)) as image:
                modes.add(image.mode)
    assert modes == {"RGB"}


def test_labels_follow_their_images_to_their_new_names(tmp_path: Path) -> None:
    files = squares()
    rows = [[name, [number / 2, 1]] for number, name in enumerate(files)]
    source = write_zip(tmp_path / "a.zip", files | labels_file(rows[::-1]))
    convert(source, tmp_path / "out.zip", max_images=10)
    expected = [[f"00000/img{number:08}.png", [number / 2, 1]] for number in range(10)]
    assert labels(tmp_path / "out.zip") == {"labels": expected}
    convert(source, tmp_path / "none.zip", labels="none")
    assert labels(tmp_path / "none.zip") == {"labels": None}


def test_folders_are_classes(tmp_path: Path) -> None:
    drawn = list(squares(9).values())
    files = {f"{'cab'[i % 3]}/{i}.png": content for i, content in enumerate(drawn)}
    convert(write_folder(tmp_path / "a", files), tmp_path / "out.zip", labels="folders")
    about = labels(tmp_path / "out.zip")
    assert about["classes"] == ["a", "b", "c"]
    assert [label for _, label in about["labels"]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    images = load(tmp_path / "out.zip", resolution=8, channels=1, mirror=False, use_labels=True)
    assert images.labels is not None and images.labels.shape == (9, 3)
    write_folder(tmp_path / "a", {"root.png": drawn[0]})
    with pytest.raises(UsageError, match=r"root\.png lies in no folder"):
        convert(tmp_path / "a", tmp_path / "b.zip", labels="folders")


def test_classes_are_counted_over_all_folders_however_few_images_are_taken(tmp_path: Path) -> None:
    """So that a part of the data has the labels that the whole of it would have."""
    drawn = list(squares(9).values())
    files = {f"{'abc'[i % 3]}/{i}.png": content for i, content in enumerate(drawn) if i % 3 != 1}
    files["b/empty.txt"] = b""
    source = write_zip(tmp_path / "a.zip", files | {"aa/9.png": drawn[1], "d/9.png": drawn[4]})
    convert(source, tmp_path / "out.zip", labels="folders", max_images=5)
    about = labels(tmp_path / "out.zip")
    assert about["classes"] == ["a", "aa", "c", "d"]
    assert [label for _, label in about["labels"]] == [0, 0, 0, 1, 2]


def test_a_folder_of_the_zip_holds_a_thousand_images(tmp_path: Path) -> None:
    content = png(np.full((4, 4), 7))
    source = write_zip(tmp_path / "a.zip", {f"{number:04}.png": content for number in range(1001)})
    convert(source, tmp_path / "out.zip")
    names = list(contents(tmp_path / "out.zip"))
    assert names[0] == "00000/img00000000.png"
    assert names[999:] == ["00000/img00000999.png", "00001/img00001000.png", "dataset.json"]


def test_images_are_cropped_and_resized_where_asked(tmp_path: Path) -> None:
    wide = np.zeros((20, 32))
    wide[:, 6:26] = 90
    source = write_zip(tmp_path / "a.zip", {"a.png": png(wide), **squares(8, side=16)})
    with pytest.raises(UsageError, match="32 x 20 pixels; valid: square images, or fit=crop"):
        convert(source, tmp_path / "out.zip", resolution=8)
    convert(source, tmp_path / "out.zip", resolution=8, fit="crop")
    images = load(tmp_path / "out.zip", resolution=8, channels=1, mirror=False).images
    assert images[0].unique().tolist() == [90]


@pytest.mark.parametrize(("side", "settings", "reason"), [
    (12, {}, "images of 12 pixels; valid: a side of a power of two"),
    (8, {"resolution": 24}, "resolution=24: not possible; valid: a power of two"),
    (8, {"max_images": -1}, "max_images=-1: not possible"),
])  # fmt: skip
def test_what_no_network_could_take_is_refused(
    tmp_path: Path, side: int, settings: dict[str, Any], reason: str
) -> None:
    source = write_zip(tmp_path / "a.zip", squares(side=side))
    with pytest.raises(UsageError, match=reason):
        convert(source, tmp_path / "out.zip", **settings)


def test_mixed_sizes_are_refused_before_an_image_is_decoded(tmp_path: Path) -> None:
    files = {**squares(), "z.png": png(np.zeros((16, 16)))}
    files["images/000.png"] = files["images/000.png"][:50]  # damaged, which only decoding would tell
    with pytest.raises(UsageError, match=r"z\.png is 16 pixels wide, images/000\.png 8"):
        convert(write_zip(tmp_path / "a.zip", files), tmp_path / "out.zip")


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path: Path) -> None:
    files = squares()
    source = write_zip(tmp_path / "a.zip", files)
    with pytest.raises(UsageError, match=r"a\.zip: exists; valid: a new file"):
        convert(source, source)
    with pytest.raises(UsageError, match=r"valid: one that ends in \.zip"):
        convert(source, tmp_path / "out")
    files["images/011.png"] = files["images/011.png"][:50]
    with pytest.raises(UsageError, match=r"images/011\.png is damaged"):
        convert(write_zip(source, files), tmp_path / "out.zip")
    with pytest.raises(UsageError, match="no images"):
        convert(write_zip(source, {}), tmp_path / "out.zip", resolution=8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_progress_counts_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = write_zip(tmp_path / "a.zip", squares(3))
    convert(source, tmp_path / "out.zip", on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_flags_say_how_to_convert(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = write_zip(tmp_path / "a.zip", squares(side=12)), tmp_path / "b.zip"
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with caplog.at_level(logging.INFO, "stylegan2_ada"):
        run(parser.parse_args([str(source), str(out), "--resolution=8", "--max-images=9", "--fit=crop"]))
    assert len(contents(out)) == 10
    assert "b.zip: 9 images" in caplog.text
