import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from components.shared.phantom import simulate_patients
from components.shared.symmetry import clear_axis, mirror_scores, mirrors
from components.shared.volumes import read_volume

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Simulated heads, stored posterior, superior, right."""
    return [read_volume(path) for path in simulate_patients(tmp_path_factory.mktemp("heads"), 3, 0, size=80)]


def spacing(volume):
    return np.linalg.norm(volume.affine[:3, :3], axis=0)


def test_the_axis_from_left_to_right_mirrors_the_content_best(heads):
    for head in heads:
        scores = mirror_scores(head.data_XYZ, spacing(head))
        assert np.argmax(scores) == 2
        assert scores[2] > 0.9


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_stored_axes_changes_no_score(heads, order):
    head = heads[0]
    straight = mirror_scores(head.data_XYZ, spacing(head))
    turned = mirror_scores(head.data_XYZ.transpose(order)[::-1], spacing(head)[list(order)])
    np.testing.assert_allclose(turned, [straight[axis] for axis in order], atol=0.05)


@pytest.mark.parametrize("turn_deg", [(0, 0, 20), (0, 20, 0), (20, 0, 0), (8, -12, 12)])
def test_a_tilted_head_keeps_its_axis_and_tells_its_tilt(heads, turn_deg):
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    head = heads[0]
    right, anterior, superior = mirrors(head.data_XYZ, np.linalg.inv(head.affine[:3, :3]) @ turn)
    assert right.score > max(anterior.score, superior.score) + 0.05
    expected = np.degrees(np.arccos(turn[0, 0]))
    assert right.tilt_deg == pytest.approx(expected, abs=6)  # heads lie tilted themselves


def test_a_shadow_on_one_side_does_not_hide_the_axis(heads):
    for head in heads:
        gain_Z = 1 - 0.5 / (1 + np.exp((np.arange(80) - 28) / 2.5))  # about 14 mm beside the midline
        posterior, superior, right = mirror_scores(head.data_XYZ * gain_Z, spacing(head))
        assert right > max(posterior, superior)


def test_an_outline_alone_tells_no_axis():
    x, y, z = np.indices((60, 50, 40))
    sector = ((z - 20.0) ** 2 < (0.8 * (y + 4)) ** 2) & ((x - 30) ** 2 < (0.9 * (y + 4)) ** 2)
    assert mirror_scores(np.where(sector, 90, 0).astype(np.uint8), (1, 1, 1)) == (0, 0, 0)
    speckled = np.random.default_rng(0).rayleigh(40, sector.shape) * sector
    assert max(mirror_scores(speckled.astype(np.uint8), (1, 1, 1))) < 0.5


@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 1, 40), (3, 200, 3)])
def test_thin_volumes_are_scored_without_an_error(shape):
    noise = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    assert all(0 <= score <= 1 for score in mirror_scores(noise, (0.5, 0.5, 0.5)))
    assert mirror_scores(np.zeros(shape), (1, 1, 1)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("scores", "axis"),
    [
        ((0.98, 0.85, 0.76), 0),
        ((0.75, 0.61, 0.99), 2),
        ((0.5, 0.61, 0.5), None),  # nothing mirrors well: a vessel
        ((0.1, 0.62, 0.2), None),  # far better than the others, and yet not well
        ((0.86, 0.9, 0.15), None),  # two mirror alike: a spine in a sector
        ((0.79, 0.84, 0.6), None),
        ((1.0, 1.0, 0.3), None),
        ((0.0, 0.0, 0.0), None),
    ],
)
def test_an_axis_is_told_only_where_no_other_comes_near(scores, axis):
    assert clear_axis(scores) == axis


@pytest.mark.skipif(not DATA.exists(), reason="needs the volumes beside the checkout")
@pytest.mark.parametrize("path", sorted(DATA.glob("ultrasound_like/*.nrrd")), ids=lambda path: path.stem)
def test_every_ultrasound_like_volume_tells_its_axis(path):
    volume = read_volume(path)  # axes posterior, superior, right
    posterior, superior, right = mirror_scores(volume.data_XYZ, spacing(volume))
    assert right > max(posterior, superior) + 0.1
