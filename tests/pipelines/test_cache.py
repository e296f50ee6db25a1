"""What the laptop engine takes from an earlier run, and what it refuses to."""

import json
import shutil
from pathlib import Path

import pytest

from components.shared import code
from components.shared.planes import PlaneSetWriter
from pipelines.local import drop_broken_entries, is_whole, publish


@pytest.fixture
def planes(tmp_path):
    with PlaneSetWriter(folder=tmp_path / "planes", side=8):
        pass
    return tmp_path / "planes"


def remember(cache, artifact):
    cache.mkdir()
    entry = {"planes": {"uri": str(artifact), "name": "planes"}, "Output": "text"}
    (cache / "key.json").write_text(json.dumps(entry))


def test_a_whole_artifact_is_kept(planes, tmp_path):
    remember(tmp_path / "cache", planes)
    drop_broken_entries(tmp_path / "cache")
    assert (tmp_path / "cache/key.json").exists()


@pytest.mark.parametrize("missing", ["planes.csv", "planes.json", "images.zip"])
def test_an_entry_whose_artifact_lacks_a_file_is_dropped(planes, missing, tmp_path):
    remember(tmp_path / "cache", planes)
    (planes / missing).unlink()
    drop_broken_entries(tmp_path / "cache")
    assert not (tmp_path / "cache/key.json").exists()


def test_a_truncated_archive_is_not_whole(planes):
    data = (planes / "images.zip").read_bytes()
    (planes / "images.zip").write_bytes(data[:-1])
    assert not is_whole(planes)


def test_an_emptied_folder_and_an_empty_file_are_not_whole(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert not is_whole(tmp_path / "folder")
    assert not is_whole(tmp_path / "file")


def test_an_edit_to_a_stages_module_gives_another_cache(tmp_path, monkeypatch):
    source = Path(code.__file__).parents[1]
    shutil.copytree(source, tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "_sources", sources_below(tmp_path, code._sources))
    before = code.code_digest()
    stage = tmp_path / "components/extract_planes/stage.py"
    stage.write_text(stage.read_text() + "\n# another thought\n")
    assert code.code_digest() != before
    assert code.code_digest("components/train_gan") == code.code_digest("components/train_gan")
    page = tmp_path / "components/report/page.py"
    edited = code.code_digest()
    page.write_text(page.read_text() + "\n# a wider margin\n")
    assert code.code_digest() == edited, "the report is written anew on every run: nothing descends from it"


def sources_below(folder, original):
    """Return `_sources` reading a copy of the packages."""

    def sources(package):
        root = Path(code.__file__).parents[2]
        for path, name in original(package):
            copy = folder / path.relative_to(root) if path.is_relative_to(root) else path
            yield (copy if copy.exists() else path), name

    return sources


def test_a_report_is_replaced_as_one(tmp_path):
    for turn in ("first", "second"):
        (tmp_path / "page").write_text(turn)
        publish({"report.html": str(tmp_path / "page")}, tmp_path / "root")
    assert (tmp_path / "root/report/report.html").read_text() == "second"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["report"]
