from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import extraction, extraction_audit, extraction_scale, notebook_extraction
from components.shared.volumes import Volume, write_volume

SIZES = (48, 44, 46)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    ball = np.linalg.norm(np.indices(SIZES).T - (np.array(SIZES) - 1) / 2, axis=-1).T < 18
    speckle = np.random.default_rng(0).integers(0, 50, SIZES)
    path = tmp_path / "v.nrrd"
    write_volume(path, Volume(data_XYZ=(150 * ball + speckle).astype(np.uint8), affine=np.eye(4)))
    return path


def test_the_notebooks_method_writes_what_its_description_says(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, SIZES).astype(np.uint8)
    assert notebook_extraction.extract(voxels, "v", tmp_path, [-21, 19]) == 2 * (48 + 46)
    counts = {folder.name: len(list(folder.iterdir())) for folder in tmp_path.iterdir()}
    # 20 slices at each end, of both stacks under the same names while their numbers agree.
    assert counts == {"plano_sagital": 2 * 8, "plano_coronal": 2 * 6, "ruido": 2 * (40 + 40 - 38)}
    for path in tmp_path.rglob("*.png"):
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((256, 256), "RGB")


def test_its_angles_are_nine_and_neither_symmetric_nor_upright() -> None:
    angles = notebook_extraction.ANGLES_DEG
    assert (len(angles), angles[0], angles[-1]) == (9, -21, 19)
    assert 0 not in angles


def test_both_rates_and_their_ratio_are_reported(volume: Path) -> None:
    found = extraction.compare(volume, rounds=1)
    ours, theirs = (found["rounds"][who][0] for who in ("ours", "notebook"))
    assert ours["planes"] % (2 * len(extraction.CUTS.plane_angles_deg)) == 0
    assert theirs["planes"] == 48 + 46
    rate = {who: taken[0]["planes"] / taken[0]["seconds"] for who, taken in found["rounds"].items()}
    assert found["ratio"] == pytest.approx(rate["ours"] / rate["notebook"])


def test_a_neighbour_gives_away_what_differs_and_equal_planes_tie() -> None:
    def block(coronal: float, sagittal: float) -> extraction_audit.Planes:
        return [(np.full(4, coronal), False), (np.full(4, coronal), False), (np.full(4, sagittal), True)]

    assert extraction_audit.accuracy([block(1, 5), block(2, 6), block(1, 7)]) == 1.0
    assert extraction_audit.accuracy([block(3, 3)] * 3) == 0.5
    assert extraction_audit.accuracy([block(1, 5), block(5, 1)]) == 0.0


def test_the_notebook_tells_the_class_of_empty_blocks_and_ours_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extraction_audit, "ANGLES_DEG", (-21,))
    shapes = [(43, 48, 45), (45, 42, 44), (46, 50, 43)]
    assert extraction_audit.accuracy([extraction_audit.by_notebook(shape) for shape in shapes]) > 0.95
    assert extraction_audit.accuracy([extraction_audit.by_ours(shape) for shape in shapes]) == 0.5


def test_repeated_volumes_are_all_extracted(volume: Path) -> None:
    found = extraction_scale.extract(volume, 3)
    assert found["planes"] > 0
    assert found["planes"] % 3 == 0


def test_a_straight_line_is_found() -> None:
    points = [{"volumes": n, "seconds": 2.0 + 3 * n, "peak_mb": 90.0} for n in (5, 10, 30)]
    found = extraction_scale.summary(points)
    assert found["seconds_a_volume"] == pytest.approx(3)
    assert found["seconds_to_start"] == pytest.approx(2)
    assert found["furthest_off_the_line"] == pytest.approx(0, abs=1e-9)
    assert found["mb_a_volume"] == pytest.approx(0, abs=1e-9)
