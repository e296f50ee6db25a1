"""What the laptop engine takes from an earlier run, and what it refuses to."""

import hashlib
import io
import itertools
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from components.shared import code
from components.shared.faults import InputError
from components.shared.planes import PlaneSetWriter
from pipelines import local as engine
from pipelines.__main__ import main
from pipelines.local import (
    drop_broken_entries,
    drop_leftovers,
    forget_report,
    is_whole,
    publish,
    restore_report,
    wait_for_stages,
)
from pipelines.terminal import Terminal


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


@pytest.mark.parametrize("data", [b"", b'{"planes": {"ur', b"[]", b"\x00\xff"])
def test_an_entry_that_cannot_be_read_is_none(data, planes, tmp_path):
    remember(tmp_path / ".cache", planes)
    for folder in (tmp_path / ".cache", tmp_path / ".cache/other_code"):
        folder.mkdir(exist_ok=True)
        (folder / "cut.json").write_bytes(data)
    drop_broken_entries(tmp_path / ".cache")
    drop_leftovers(tmp_path)
    assert [path.name for path in (tmp_path / ".cache").glob("*.json")] == ["key.json"]


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
    before, of_part = code.code_digest(), code.code_digest("components/train_gan")
    stage = tmp_path / "components/extract_planes/stage.py"
    stage.write_text(stage.read_text() + "\n# another thought\n")
    assert code.code_digest() != before
    assert code.code_digest("components/train_gan") == of_part
    assert code.code_digest("components/extract_planes") != of_part
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


@pytest.mark.parametrize("name", ["classifier", "generator"])
def test_a_model_is_whole_with_the_weights_that_its_json_names(name, tmp_path):
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / f"{name}.json").write_text(json.dumps({"digest": digest}))
    assert not is_whole(tmp_path)
    (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
    assert is_whole(tmp_path)
    (tmp_path / f"{name}.safetensors").write_bytes(b"damaged")
    assert not is_whole(tmp_path)
    (tmp_path / f"{name}.json").write_text('{"dig')
    assert not is_whole(tmp_path)


def write_report(tmp_path, text):
    (tmp_path / "page").write_text(text)
    (tmp_path / "result").write_text(text)
    publish(
        {"report.html": str(tmp_path / "page"), "metrics.json": str(tmp_path / "result")}, tmp_path / "root"
    )


@pytest.mark.parametrize(
    ("owner", "step", "left"),
    [
        (shutil, "copyfile", "first"),
        (Path, "rename", "first"),
        (shutil, "rmtree", "second"),
    ],
)
@pytest.mark.parametrize("done", [0, 1])
def test_a_report_is_replaced_as_one_wherever_its_run_is_killed(
    owner, step, left, done, tmp_path, monkeypatch
):
    write_report(tmp_path, "first")
    original, calls = getattr(owner, step), itertools.count()

    def killed(*args, **kwargs):
        if next(calls) >= done:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(owner, step, killed)
        write_report(tmp_path, "second")
    restore_report(tmp_path / "root")
    texts = [path.read_text() for path in (tmp_path / "root/report").iterdir()]
    assert texts == [left, left]
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("forget", "left"), [("3fa1-7c21e09b4d", set()), ("", {"former"}), ("no pseudonym", {"former"})]
)
def test_a_report_goes_before_a_run_that_forgets_a_patient_even_if_it_is_refused(forget, left, tmp_path):
    write_report(tmp_path, "former")
    root, given = tmp_path / "root", {"volumes_uri": tmp_path / "absent", "forget_patient": forget}
    words = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    assert main(["run", "augmentation", "--root", str(root), *words]) == 1
    assert {path.read_text() for path in root.glob("report/*")} == left


def test_a_report_that_a_killed_run_had_moved_away_is_forgotten_too(tmp_path):
    write_report(tmp_path, "former")
    (tmp_path / "root/report").rename(tmp_path / "root/.report-old-1")
    forget_report(tmp_path / "root")
    assert not list(tmp_path.glob("root/*report*"))
    forget_report(tmp_path / "no root yet")


def test_what_killed_runs_left_goes_and_what_a_cache_or_a_reader_needs_stays(tmp_path):
    paths = [
        "killed/train-gan/generator/generator.json",
        "killed/extract-planes/planes/planes.csv",
        "lost/train-gan/generator/generator.json",
        "ended/report/page",
        "ended/apply/predictions/predictions.csv",
    ]
    for path in paths:
        (tmp_path / "artifacts" / path).parent.mkdir(parents=True)
        (tmp_path / "artifacts" / path).write_text("x")
    (tmp_path / ".cache").mkdir()
    remember(tmp_path / ".cache/code", tmp_path / "artifacts/killed/extract-planes/planes")
    drop_leftovers(tmp_path)
    left = [path for path in paths if (tmp_path / "artifacts" / path).exists()]
    assert left == [paths[1], *paths[3:]]
    assert not (tmp_path / "artifacts/lost").exists()


def hold(path, seconds):
    """Hold a lock as a killed run's stage does."""
    code = (
        f"import fcntl, time; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True)"
    )
    held = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep({seconds})"], stdout=subprocess.PIPE)
    held.stdout.read(1)
    return held


def test_waiting_for_a_killed_runs_stages_is_said_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_SAY_S", 0.1)
    said = io.StringIO()
    with hold(tmp_path / "lock", 1), (tmp_path / "lock").open("w") as lock:
        wait_for_stages(lock, tmp_path, Terminal(said))
    assert said.getvalue().count("waiting for the last stage of a killed run") == 1
    monkeypatch.setattr(engine, "_WAIT_S", 0.3)
    with hold(tmp_path / "lock", 60) as held, (tmp_path / "lock").open("w") as lock:
        with pytest.raises(InputError, match="a killed run's stage still works in it after"):
            wait_for_stages(lock, tmp_path, Terminal(said))
        held.kill()
