import json
import logging
import os
from pathlib import Path

import pytest
import torch
from stylegan2_ada import checkpoint
from stylegan2_ada.files import sha256

RUN, OTHER = "a" * 64, "b" * 64
CPU = torch.device("cpu")


def write(folder: Path, images: int, run: str = RUN) -> Path:
    return checkpoint.write(folder, run, images, {"images": images, "tensor": torch.full((9,), images)})


def test_the_newest_of_a_run_is_read_and_three_are_kept(tmp_path: Path) -> None:
    for images in (8, 16, 24, 1000):
        write(tmp_path, images)
    state = checkpoint.read_latest(tmp_path, RUN, CPU)
    assert state is not None and state["images"] == 1000
    assert len(list(tmp_path.iterdir())) == 6


def test_runs_in_one_folder_never_mix(tmp_path: Path) -> None:
    write(tmp_path, 8)
    write(tmp_path, 99, OTHER)
    state = checkpoint.read_latest(tmp_path, RUN, CPU)
    assert state is not None and state["images"] == 8
    assert checkpoint.read_latest(tmp_path, "c" * 64, CPU) is None
    assert checkpoint.read_latest(tmp_path, RUN[:12] + "c" * 52, CPU) is None  # names hold 12 letters of 64


@pytest.mark.parametrize(
    "damage",
    ["truncated", "flipped", "no json", "half a json", "[]", "null", "3", "[" * 100_000],
    ids=lambda text: text[:12],
)
def test_a_damaged_newest_one_is_skipped_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 8)
    path = write(tmp_path, 16)
    data = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "flipped":
            path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
        case "no json":
            path.with_suffix(".json").unlink()
        case "half a json":
            path.with_suffix(".json").write_text('{"run"')
        case _:
            path.with_suffix(".json").write_text(damage)
    with caplog.at_level(logging.WARNING):
        state = checkpoint.read_latest(tmp_path, RUN, CPU)
    assert state is not None and state["images"] == 8
    assert path.name in caplog.text


def test_one_from_within_a_tick_comes_before_the_end_of_it(tmp_path: Path) -> None:
    within = checkpoint.write(tmp_path, RUN, 16, {"images": 16}, within_tick=True)
    assert checkpoint.newest(tmp_path, RUN) == within
    end = write(tmp_path, 16)
    assert within != end and checkpoint.paths(tmp_path, RUN) == [within, end]
    end.with_suffix(".json").unlink()  # killed before it was sealed
    assert checkpoint.newest(tmp_path, RUN) == within


def test_layout_of_tensors_is_kept(tmp_path: Path) -> None:
    tensor = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    checkpoint.write(tmp_path, RUN, 1, {"tensor": tensor})
    state = checkpoint.read_latest(tmp_path, RUN, CPU)
    assert state is not None and state["tensor"].stride() == tensor.stride()


def test_all_can_be_removed_with_what_a_killed_process_left(tmp_path: Path) -> None:
    write(tmp_path, 8)
    write(tmp_path, 16, OTHER)
    (tmp_path / "checkpoint-x.part").write_bytes(b"half")
    (tmp_path / "generator.json").write_text("{}")
    checkpoint.remove_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["generator.json"]


def test_processes_write_into_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[Path] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        parts.append(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    write(tmp_path, 8)
    write(tmp_path, 8)
    assert len(parts) == len(set(parts)) == 4


@pytest.mark.parametrize("percent", range(0, 100, 10))
def test_a_truncated_one_is_never_taken(tmp_path: Path, percent: int) -> None:
    path = write(tmp_path, 16)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * percent // 100])
    assert checkpoint.read_latest(tmp_path, RUN, CPU) is None


def test_one_whose_end_is_zeros_is_not_taken(tmp_path: Path) -> None:
    path = write(tmp_path, 16)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2] + bytes(size - size // 2))  # as after a power cut
    assert checkpoint.read_latest(tmp_path, RUN, CPU) is None


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_asked(tmp_path: Path, keep: int) -> None:
    for images in range(5):
        checkpoint.write(tmp_path, RUN, images, {"images": images}, keep=keep)
    assert [path.name[-4] for path in checkpoint.paths(tmp_path, RUN)] == list("01234")[-keep:]
    assert len(list(tmp_path.iterdir())) == 2 * keep


def test_the_newest_whole_one_is_named(tmp_path: Path) -> None:
    first, second = write(tmp_path, 8), write(tmp_path, 16)
    assert checkpoint.newest(tmp_path, RUN) == second
    second.write_bytes(b"")
    assert checkpoint.newest(tmp_path, RUN) == first
    assert checkpoint.newest(tmp_path, OTHER) is None


def test_no_checkpoint_is_unpickled(tmp_path: Path) -> None:
    """A file that would run code when read as a pickle is refused by torch itself."""

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = write(tmp_path, 8)
    torch.save({"images": Payload()}, path)
    about = json.loads(path.with_suffix(".json").read_text()) | {"sha256": sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.read_latest(tmp_path, RUN, CPU)
    assert not (tmp_path / "ran").exists()


def test_what_was_half_written_long_ago_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "checkpoint-a-1.x.part", tmp_path / "checkpoint-a-2.y.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    write(tmp_path, 8)
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("damage", ["no json", "empty"])
@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_one_ahead_never_costs_the_one_just_written(tmp_path: Path, keep: int, damage: str) -> None:
    """A resumed run saves by the clock, so at an earlier count than the damaged one that it skipped."""
    write(tmp_path, 4000)
    ahead = write(tmp_path, 5000)
    if damage == "no json":
        ahead.with_suffix(".json").unlink()
    else:
        ahead.write_bytes(b"")
    state = {"images": 4500, "tensor": torch.full((9,), 4500)}
    assert checkpoint.write(tmp_path, RUN, 4500, state, keep) == checkpoint.newest(tmp_path, RUN)
    assert [path.name[-8:-3] for path in checkpoint.paths(tmp_path, RUN)] == ["04000", "04500"][-keep:]
