from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stylegan2_ada import load_generator
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.training_state import TrainingState, architecture_of
from stylegan2_ada.weights import save

from components.generate_images.stage import Config, count_by_truncation, generate_images, refuse_measured
from components.shared.faults import InputError
from components.shared.planes import PlaneSet
from tests.drawn_planes import splits_of

CONFIG = Config(truncations=(0.5, 1.0), images=7, batch=3)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    config = derived(TrainingConfig(resolution=8, channel_base=64, batch=4))
    state = TrainingState.fresh(config, torch.device("cpu"))
    about = {"resolution": 8, "patients_seen": ["a", "b"], "scans_seen": ["1f", "2f"]}
    save(folder, state.g_ema, state.d, architecture_of(config), about)
    return folder


def test_images_are_divided_over_truncations(generator: Path, tmp_path: Path) -> None:
    assert generate_images(CONFIG, generator, tmp_path) == {"psi0.50": 4, "psi1.00": 3}
    planes = PlaneSet.open(tmp_path)
    assert [(row.truncation, row.seed) for row in planes.rows] == [
        *((0.5, seed) for seed in range(4)),
        *((1.0, seed) for seed in range(3)),
    ]
    assert planes.rows[0].image == "synthetic/psi0.50_seed000000.png"
    assert planes.side == 8
    assert planes.seen.told() == {"patients_seen": ["a", "b"], "scans_seen": ["1f", "2f"]}
    assert {(row.source, row.label) for row in planes.rows} == {("synthetic", "")}
    assert {row.generator for row in planes.rows} == {load_generator(generator)[1]["digest"]}


def test_images_differ_by_seed_and_truncation(generator: Path, tmp_path: Path) -> None:
    generate_images(CONFIG, generator, tmp_path)
    planes = PlaneSet.open(tmp_path)
    images = list(planes.images(planes.rows))
    assert len({image.tobytes() for image in images}) == CONFIG.images
    assert images[0].shape == (8, 8) and images[0].dtype == np.uint8


def test_equal_settings_give_equal_bytes(generator: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        generate_images(CONFIG, generator, tmp_path / name)
    for file in ("images.zip", "planes.csv", "planes.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_a_generator_that_saw_a_test_patient_draws_nothing(generator: Path) -> None:
    refuse_measured(generator, splits_of({"a": "train", "b": "train", "t": "test"}))
    with pytest.raises(InputError, match=r"^generator \w{12}: made from patients b \(test\)"):
        refuse_measured(generator, splits_of({"a": "train", "b": "test"}))


def test_another_seed_takes_other_latents(generator: Path, tmp_path: Path) -> None:
    generate_images(replace(CONFIG, images=4, seed=1), generator, tmp_path)
    assert [row.seed for row in PlaneSet.open(tmp_path).rows] == [2, 3, 2, 3]


def test_truncations_share_their_seeds_where_the_images_do_not_divide(
    generator: Path, tmp_path: Path
) -> None:
    generate_images(replace(CONFIG, images=5, seed=1), generator, tmp_path)
    assert [row.seed for row in PlaneSet.open(tmp_path).rows] == [3, 4, 5, 3, 4]


def test_the_largest_seed_works(generator: Path, tmp_path: Path) -> None:
    generate_images(replace(CONFIG, images=4, seed=2**31 - 1), generator, tmp_path)
    planes = PlaneSet.open(tmp_path)
    assert [row.seed for row in planes.rows] == [2**32 - 2, 2**32 - 1] * 2
    generate_images(replace(CONFIG, images=6, seed=2**31 - 1), generator, tmp_path / "more")
    planes = PlaneSet.open(tmp_path / "more")
    assert planes.rows[0].seed == 3 * (2**31 - 1) > 2**32
    assert len({image.tobytes() for image in planes.images(planes.rows)}) == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truncations": ()}, "truncations="),
        ({"truncations": (0.5, 0.501)}, "two decimals"),
        ({"truncations": (0.001,)}, "psi from 0.01 to 2"),
        ({"images": 1}, "images=1"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**31}, "valid: 0 to 2147483647"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        count_by_truncation(replace(CONFIG, **change))


def test_a_folder_without_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no generator"):
        generate_images(CONFIG, tmp_path, tmp_path / "out")
