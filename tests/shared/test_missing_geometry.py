import itertools

import numpy as np
import pytest

from components.shared.faults import InputError
from components.shared.nrrd_geometry import by_symmetry
from components.shared.phantom import simulate_patients
from components.shared.volumes import read_header, read_volume
from tests.shared.nrrd_files import DIRECTIONS, make

SPACINGS = {"space": None, "space directions": None, "space origin": None, "spacings": "0.5 0.6 0.7"}
NO_SPACE = {"space": None, "space dimension": 3}
SIDELESS = {"space": "scanner-xyz"}
NO_DIRECTIONS = {"space directions": None, "spacings": "0.5 0.6 0.7", "space origin": None}
LIST_OF_SPACINGS = SPACINGS | {"dimension": 4, "sizes": "1 5 4 3", "spacings": "nan 0.5 0.6 0.7"}
MISSING = {
    "no space": (NO_SPACE, "space: absent"),
    "sideless": (SIDELESS, "space: scanner-xyz"),
    "spacings": (SPACINGS, "space: absent"),
    "space without directions": (NO_DIRECTIONS, "space directions: absent"),
    "a list with spacings": (LIST_OF_SPACINGS, "space: absent"),
}
DIAGONAL = {"LPS": (-0.5, -0.6, 0.7), "RAS": (0.5, 0.6, 0.7)}


@pytest.mark.parametrize("name", MISSING)
def test_missing_geometry_is_refused_unless_a_policy_says_what_to_assume(name, tmp_path):
    changes, words = MISSING[name]
    path = make(tmp_path / "a.nrrd", changes)
    with pytest.raises(InputError, match=f"{words}.*missing_geometry"):
        read_volume(path)
    for policy, diagonal in DIAGONAL.items():
        volume = read_volume(path, missing_geometry=policy)
        assert volume.orientation == policy
        assert np.allclose(volume.affine[:3, :3], np.diag(diagonal))
        assert any(f"{policy} is assumed" in note for note in volume.notes)


def test_vectors_of_an_unnamed_space_are_kept(tmp_path):
    oblique = "(0.3,0.4,0) (-0.48,0.36,0) (0,0,0.7)"
    volume = read_volume(make(tmp_path / "a.nrrd", NO_SPACE | {"space directions": oblique}), "LPS")
    assert np.allclose(volume.affine[:3], [[-0.3, 0.48, 0, -1], [-0.4, -0.36, 0, -2], [0, 0, 0.7, 3]])


@pytest.mark.parametrize("policy", ["refuse", "LPS", "RAS", "symmetry"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (SPACINGS | {"spacings": None}, "millimetres are unknown"),
        (SPACINGS | {"spacings": "nan 0.6 0.7"}, "spacings: spacing nan"),
        (SPACINGS | {"spacings": "0.5 0 0.7"}, "spacings: spacing 0.5 0 0.7"),
        (SPACINGS | {"spacings": "0.5 0.6"}, "spacings: 2 numbers"),
        (SPACINGS | {"units": '"m" "m" "m"'}, "units: m m m"),
        (LIST_OF_SPACINGS | {"spacings": "1 0.5 0.6 0.7"}, "4 of 4 axes are spatial"),
    ],
)
def test_no_policy_makes_up_millimetres_or_axes(policy, changes, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_volume(make(tmp_path / "a.nrrd", changes), policy)


@pytest.mark.parametrize("policy", ["LPS", "RAS", "symmetry"])
def test_a_policy_changes_nothing_where_the_header_has_its_geometry(policy, tmp_path):
    path = make(tmp_path / "a.nrrd", {"space": "LAS"})
    volume = read_volume(path, policy)
    assert volume.orientation == "header"
    assert volume.notes == ()
    assert np.allclose(volume.affine, read_volume(path).affine)


def test_an_unknown_policy_is_named(tmp_path):
    with pytest.raises(InputError, match="missing_geometry=lps: unknown; valid: refuse, LPS, RAS, symmetry"):
        read_volume(make(tmp_path / "a.nrrd"), "lps")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated brain, stored posterior, superior, right."""
    return read_volume(simulate_patients(tmp_path_factory.mktemp("brains"), patients=1, size=56)[0])


@pytest.mark.parametrize("sideways", range(3))
def test_symmetry_finds_left_and_right(sideways, simulated, tmp_path):
    grey = np.moveaxis(simulated.data_XYZ, 2, sideways)
    spacing = np.linalg.norm(simulated.affine[:3, :3], axis=0)
    changes = SPACINGS | {"sizes": "56 56 56", "spacings": " ".join(map(str, spacing))}
    path = make(tmp_path / "a.nrrd", changes, grey.tobytes(order="F"))
    volume = read_volume(path, "symmetry")
    others = [axis for axis in range(3) if axis != sideways]
    columns = volume.affine[:3, :3]
    assert volume.orientation == "symmetry"
    assert np.allclose(np.linalg.norm(columns, axis=0), spacing)
    assert np.argmax(abs(columns[0])) == sideways
    assert columns[1, others[0]] < 0  # towards posterior
    assert columns[2, others[1]] > 0  # towards superior
    assert np.linalg.det(columns) > 0
    assert any(f"axis {sideways} is left-right" in note for note in volume.notes)
    assert read_header(path, "symmetry").orientation == "symmetry"


@pytest.mark.parametrize("scores", [(0.9, 0.86, 0.1), (0.5, 0.5, 0.5), (0.9, np.nan, 0.1)])
def test_symmetry_that_tells_nothing_is_refused(scores, tmp_path):
    with pytest.raises(InputError, match=r"mirror symmetry .* does not tell"):
        by_symmetry(tmp_path / "a.nrrd", np.eye(4), scores)


def test_symmetry_gives_each_order_a_rotation_and_the_spacing(tmp_path):
    for scores in itertools.permutations((0.9, 0.6, 0.3)):
        affine, _ = by_symmetry(tmp_path / "a.nrrd", np.diag([0.5, 0.6, 0.7, 1]), scores)
        turn = affine[:3, :3] / [0.5, 0.6, 0.7]
        assert np.allclose(turn @ turn.T, np.eye(3))
        assert np.isclose(np.linalg.det(turn), 1)
        assert abs(turn[0, np.argmax(scores)]) == 1


def test_symmetry_needs_axes_at_right_angles(tmp_path):
    sheared = NO_SPACE | {"space directions": DIRECTIONS.replace("(0,0.6,0)", "(0.3,0.6,0)")}
    with pytest.raises(InputError, match="not at right angles"):
        read_volume(make(tmp_path / "a.nrrd", sheared), "symmetry")
