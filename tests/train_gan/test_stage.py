import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stylegan2_ada import CollapseError, load_generator, training_loop
from stylegan2_ada.training_state import TrainingState

from components.shared import storage
from components.shared.faults import InputError
from components.shared.planes import PlaneSet
from components.shared.storage import clients
from components.train_gan.stage import Config, _run_name, input_errors, train_gan, training_rows
from tests.drawn_planes import SPLITS, splits_of, write_planes
from tests.edited_code import edit
from tests.shared.fake_gcs import fake_gcs

TINY = Config(
    kimg=0.016, resolution=8, gamma=0.0, batch=4, channel_base=64, augment="bgc", snapshot_kimg=0.008
)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> PlaneSet:
    return write_planes(tmp_path_factory.mktemp("planes"), list(SPLITS.sides), per_class=2)


@pytest.fixture(scope="module")
def generator(planes: PlaneSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generator")
    train_gan(TINY, planes, SPLITS, out)
    return out


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with fake_gcs() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setattr("google.cloud.storage.blob._MAX_MULTIPART_SIZE", 2**30)  # all that it knows
        clients.google.cache_clear()
        yield "gs://scans/gan"
        clients.google()._http.close()
    clients.google.cache_clear()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_only_training_patients_and_gan_classes_are_shown(planes: PlaneSet) -> None:
    rows = training_rows(planes, SPLITS)
    assert {row.patient for row in rows} == {"a", "b", "c"}
    assert {row.label for row in rows} == {"coronal", "sagittal"}
    assert len(rows) == 12


def test_folder_is_a_generator(generator: Path) -> None:
    network, info = load_generator(generator)
    assert network.architecture.resolution == info["resolution"] == 8
    assert info["patients_seen"] == ["a", "b", "c"]
    assert info["classes"] == ["coronal", "sagittal"]
    assert info["kimg"] == info["history"][-1]["kimg"] == 0.016
    assert set(info["digests"]) == {"planes", "splits"}
    assert info["config"]["gamma"] == pytest.approx(0.0002 * 8**2 / 4)  # the formula, for this batch
    assert {"reals.png", "samples.png"} <= set(files(generator))


def test_equal_inputs_give_equal_bytes(planes: PlaneSet, generator: Path, tmp_path: Path) -> None:
    train_gan(TINY, planes, SPLITS, tmp_path)
    assert files(tmp_path) == files(generator)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where checkpoints are kept."""
    if request.param == "folder":
        return (tmp_path / "kept").as_uri()
    place: str = request.getfixturevalue("bucket")
    return place


class Killed(BaseException):
    pass


def test_a_stopped_run_goes_on_from_its_checkpoint(
    place: str, planes: PlaneSet, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, state_uri=place)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(training_loop, "_finish", raise_killed)
        train_gan(config, planes, SPLITS, tmp_path / "out")
    monkeypatch.delattr(TrainingState, "step")  # it must not train again
    train_gan(config, planes, SPLITS, tmp_path / "out")
    assert files(tmp_path / "out") == files(generator)


def raise_killed(*_: object) -> None:
    raise Killed


def test_a_finished_run_is_found_again_without_its_checkpoints(
    place: str, planes: PlaneSet, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, state_uri=place)
    train_gan(config, planes, SPLITS, tmp_path / "first")
    storage.download(place, tmp_path / "seen")
    kept = {name.rpartition("/")[2] for name in files(tmp_path / "seen")}
    assert {"generator.json", "generator.safetensors", "discriminator.safetensors", "reals.png"} <= kept
    assert not [name for name in kept if name.startswith("checkpoint-")]
    monkeypatch.delattr(TrainingState, "step")
    train_gan(config, planes, SPLITS, tmp_path / "second")
    assert files(tmp_path / "second") == files(tmp_path / "first") == files(generator)


def test_whom_checkpoints_saw_is_told_beside_them_before_there_is_one(
    planes: PlaneSet, generator: Path, tmp_path: Path
) -> None:
    """Those that do not say it go whenever anybody is forgotten."""
    splits, found = splits_of({"a": "train", "v": "train", "t": "test"}), dict[str, bytes]()

    def watch(done: int, _: int) -> None:
        found.update(files(tmp_path / "gan/patients") if not done else {})

    config = replace(TINY, resume_uri=str(generator), state_uri=str(tmp_path))
    train_gan(config, planes, splits, tmp_path / "out", watch)
    (run,) = [path.parent.name for path in (tmp_path / "gan").glob("*/generator.json")]
    assert list(found) == [f"{run}.json"]
    everybody = ["a", "b", "c", "v"]  # b and c by the generator that it started from
    told = {"patients_seen": everybody, "scans_seen": [f"scan of {name}" for name in everybody]}
    assert json.loads(found[f"{run}.json"]) == told


@pytest.mark.parametrize(("kimg", "kept"), [(0.004, [4, 8, 12]), (0.008, [8]), (0.0, [])])
def test_checkpoints_are_as_far_apart_as_asked(
    planes: PlaneSet, tmp_path: Path, kimg: float, kept: list[int]
) -> None:
    """By the clock, no run of seconds keeps one before its end."""
    found = list[int]()

    def watch(*_: int) -> None:
        found[:] = sorted(int(path.stem[-11:]) for path in tmp_path.glob("gan/*/checkpoint-*.pt"))

    config = replace(TINY, state_uri=str(tmp_path), checkpoint_kimg=kimg)
    train_gan(config, planes, SPLITS, tmp_path / "out", watch)
    assert found == kept


@pytest.mark.parametrize("name", ["stylegan2_ada/loss.py", "components/train_gan/stage.py"])
def test_other_code_is_another_run(
    planes: PlaneSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = _run_name(TINY, planes, SPLITS, None)
    assert _run_name(TINY, planes, SPLITS, None) == before
    edit(name, tmp_path, monkeypatch)
    assert _run_name(TINY, planes, SPLITS, None) != before


def test_another_setting_in_the_same_place_starts_afresh(planes: PlaneSet, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    train_gan(replace(TINY, state_uri=kept), planes, SPLITS, tmp_path / "first")
    info = train_gan(replace(TINY, state_uri=kept, seed=1), planes, SPLITS, tmp_path / "second")
    alone = train_gan(replace(TINY, seed=1), planes, SPLITS, tmp_path / "alone")
    assert info == alone


def test_a_generator_can_be_the_start_of_another(planes: PlaneSet, generator: Path, tmp_path: Path) -> None:
    splits = splits_of(dict(SPLITS.sides) | {"c": "train"})
    info = train_gan(replace(TINY, resume_uri=str(generator)), planes, splits, tmp_path)
    assert info["config"]["ada_kimg"] == 100  # as the authors do after a transfer
    assert info["begun_from"] == storage.hash_file(generator / "generator.json")
    before = json.loads((generator / "generator.json").read_text())
    assert (before["begun_from"], before["kimg_before"]) == ("", 0)
    assert info["kimg_before"] == before["kimg"] > 0


def test_a_start_of_another_architecture_is_refused(
    planes: PlaneSet, generator: Path, tmp_path: Path
) -> None:
    config = replace(TINY, resume_uri=str(generator), resolution=16)
    with pytest.raises(InputError, match=r"^gan_resume_uri=.*\(gan_resolution 8 there, 16 here\)") as refusal:
        train_gan(config, planes, SPLITS, tmp_path)
    assert str(refusal.value).startswith(f"gan_resume_uri={generator}: another architecture")


def test_a_start_that_saw_test_patients_is_refused(planes: PlaneSet, generator: Path, tmp_path: Path) -> None:
    splits = splits_of(dict(SPLITS.sides) | {"c": "test"})
    with pytest.raises(InputError, match="patients c"):
        train_gan(replace(TINY, resume_uri=str(generator)), planes, splits, tmp_path)


def test_no_training_plane_is_refused(planes: PlaneSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no coronal or sagittal plane"):
        train_gan(TINY, planes, splits_of({"a": "test"}), tmp_path)


def test_a_setting_the_network_refuses_is_an_input_error(planes: PlaneSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gan_resolution=33: not possible; valid: a power of two"):
        train_gan(replace(TINY, resolution=33), planes, SPLITS, tmp_path)
    with pytest.raises(InputError, match=r"^gan_channel_base=8: "):
        train_gan(replace(TINY, channel_base=8), planes, SPLITS, tmp_path)


def test_a_training_that_diverges_is_an_input_error(planes: PlaneSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gan_gamma: .*diverged.*; valid: a larger gan_gamma$") as refusal:
        train_gan(replace(TINY, gamma=1e38), planes, SPLITS, tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_generator_that_collapses_is_an_input_error() -> None:
    text = r"^gan_gamma: .*became alike, too alike; valid: a larger gan_gamma or more planes$"
    with pytest.raises(InputError, match=text), input_errors():
        raise CollapseError("too alike")


def test_a_start_that_is_none_is_refused(planes: PlaneSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="resume_uri="):
        train_gan(replace(TINY, resume_uri=str(tmp_path / "nowhere")), planes, SPLITS, tmp_path / "out")


def test_a_run_ended_by_sigterm_goes_on_from_that_very_step(
    place: str, planes: PlaneSet, generator: Path, tmp_path: Path
) -> None:
    """As a pod is that is taken away: its checkpoint is in its place before it ends."""
    config = replace(TINY, state_uri=place)
    steps: list[int] = []

    def watch(done: int, _: int) -> None:
        steps.append(done)
        if done == 12 and steps.count(done) == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        train_gan(config, planes, SPLITS, tmp_path / "out", watch)
    assert ended.value.code == 143 and not (tmp_path / "out").exists()
    train_gan(config, planes, SPLITS, tmp_path / "out", watch)
    assert steps == [0, 4, 8, 12, 12, 16]
    assert files(tmp_path / "out") == files(generator)
