import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stylegan2_ada import UsageError
from stylegan2_ada.detector import load_detector
from stylegan2_ada.files import sha256
from torch import Tensor, nn

from tests.stylegan2_ada.detectors import FeaturesOnly, Pooled, PooledDetector, write_program, write_script


def pixels(count: int = 5, channels: int = 3, side: int = 8) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), generator=rng, dtype=torch.uint8)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(tmp_path_factory.mktemp("program") / "pooled.pt2", FeaturesOnly())


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_script(tmp_path_factory.mktemp("script") / "pooled.pt", Pooled())


def test_both_kinds_of_file_give_the_networks_features(program: Path, script: Path) -> None:
    for path in (program, script):
        detector = load_detector(path)
        assert torch.allclose(detector(pixels()), PooledDetector()(pixels()), atol=1e-6)
        assert (detector.name, detector.digest) == (path.name, sha256(path))
        assert detector(pixels(1)).shape == (1, 20)


def test_a_script_without_an_argument_for_features_is_called_without(tmp_path: Path) -> None:
    detector = load_detector(write_script(tmp_path / "features.jit", FeaturesOnly()))
    assert torch.allclose(detector(pixels()), PooledDetector()(pixels()), atol=1e-6)


def test_probabilities_are_the_output_without_that_argument(script: Path) -> None:
    probabilities = load_detector(script, output="probabilities")(pixels())
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(5))


def test_a_grey_image_is_shown_to_all_channels(program: Path) -> None:
    detector = load_detector(program)
    grey = pixels(channels=1)
    assert torch.equal(detector(grey), detector(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(UsageError, match=r"takes 1 channel\(s\), images have 3; valid"):
        load_detector(program, channels=1)(pixels())


class Logits3D(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=3)


def test_images_and_outputs_that_do_not_fit_are_refused(tmp_path: Path, program: Path) -> None:
    with pytest.raises(UsageError, match=r"pooled.pt2: cannot take images \(5, 3, 9, 9\) .*; valid: uint8"):
        load_detector(program)(pixels(side=9))
    fixed = load_detector(write_program(tmp_path / "fixed.pt2", FeaturesOnly(), dynamic=False))
    with pytest.raises(UsageError, match=r"fixed.pt2: cannot take images \(5, 3, 8, 8\)"):
        fixed(pixels())
    maps = load_detector(write_script(tmp_path / "maps.pt", Logits3D()))
    with pytest.raises(UsageError, match=r"maps.pt: gave \(5, 3, 8\) for images \(5, 3, 8, 8\); valid"):
        maps(pixels())


@pytest.mark.parametrize("name", ["no.pt", "folder.pt2", "weights.pkl"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "weights.pkl").write_bytes(b"")
    with pytest.raises(UsageError, match=rf"detector=.*{name}: .*; valid: a TorchScript file"):
        load_detector(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_damaged_files_are_refused_in_one_line(
    suffix: str, share: float, tmp_path: Path, program: Path, script: Path
) -> None:
    whole = (program if suffix == ".pt2" else script).read_bytes()
    path = tmp_path / f"part{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UsageError, match="not readable") as caught:
        load_detector(path)
    assert "\n" not in str(caught.value)


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def with_member(source: Path, target: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if part in name else old.read(name))
    return target


def test_a_program_is_not_read_by_unpickling(tmp_path: Path, program: Path) -> None:
    mark = tmp_path / "executed"
    saved = io.BytesIO()
    torch.save(Payload(mark), saved)
    payloads = {"saved": saved.getvalue(), "plain": pickle.dumps(Payload(mark))}
    for name, payload in payloads.items():
        inputs = with_member(program, tmp_path / f"{name}.pt2", "sample_inputs", lambda _, p=payload: p)  # type: ignore[misc]
        with pytest.raises(UsageError, match="its sample inputs are more than tensors"):
            load_detector(inputs)

    def named(config: bytes) -> bytes:
        entries = json.loads(config)
        for entry in entries["config"].values():
            entry["use_pickle"] = True
        return json.dumps(entries).encode()

    weights = with_member(program, tmp_path / "weights.pt2", "weights_config.json", named)
    with pytest.raises(UsageError, match="names pickled tensors"):
        load_detector(weights)
    assert not mark.exists()


def test_a_program_with_machine_code_is_refused(tmp_path: Path, program: Path) -> None:
    path = with_member(program, tmp_path / "code.pt2", "nothing", bytes)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("pooled/data/aotinductor/model/code.so", b"")
    with pytest.raises(UsageError, match="it holds machine code"):
        load_detector(path)


@pytest.mark.gpu
def test_files_compute_where_they_are_told_to(program: Path, script: Path) -> None:
    for path in (program, script):
        features = load_detector(path, device="cuda")(pixels())
        assert features.is_cuda and torch.allclose(features.cpu(), PooledDetector()(pixels()), atol=1e-4)
