"""A row says where its picture was cut, and its label follows its content at both bounds."""

from dataclasses import replace

import numpy as np
import pytest

from components.extract_planes.cut import MAX_PLANES, Cuts, label_of, requested
from components.extract_planes.stage import extract_planes
from components.shared import passports
from components.shared.faults import InputError
from components.shared.geometry import Anatomy, Plane, Window
from components.shared.phantom import simulate_patients
from components.shared.planes import NOISE, UNCERTAIN, PlaneSet
from components.shared.volumes import Volume, read_volume, write_volume
from tests.extract_planes.test_stage import ANGLES, SPACING, configured, pseudonym

CUTS = Cuts(plane_angles_deg=ANGLES, plane_spacing_mm=SPACING, field_of_view_mm=80.0, side_px=64)


def test_a_row_says_where_its_picture_was_cut(tmp_path):
    path, _ = simulate_patients(tmp_path / "volumes", patients=1, size=48)
    extract_planes(configured(tmp_path / "volumes", tmp_path / "state"), tmp_path / "set")
    planes = PlaneSet.open(tmp_path / "set")
    rows = [row for row in planes.rows if row.session == pseudonym("session", path.stem)]
    anatomy = Anatomy.of(read_volume(path), Window(field_of_view_mm=80.0, side_px=64))
    assert len(rows) > 30
    for row, picture in zip(rows, planes.images(rows), strict=True):
        plane = Plane(name=row.plane, angle_deg=row.angle_deg, offset_mm=row.offset_mm)
        ((shown, content),) = anatomy.sample([plane])
        assert np.array_equal(shown, picture), row.image
        assert row.content == round(content, 4)
        assert [float(each) for each in row.normal.split()] == pytest.approx(plane.axes[2], abs=1e-6)


def test_a_row_has_the_verdict_of_its_volume(tmp_path):
    far, near = simulate_patients(tmp_path / "volumes", patients=1, size=48)
    volume = read_volume(far)
    write_volume(far, replace(volume, affine=volume.affine + 900 * np.outer([1, 0, 0, 0], [0, 0, 0, 1])))
    extract_planes(configured(tmp_path / "volumes", tmp_path / "state"), tmp_path / "set")
    verdicts = {(row.session, row.verdict) for row in PlaneSet.open(tmp_path / "set").rows}
    told = {far: "suspect", near: "accept"}
    assert verdicts == {(pseudonym("session", path.stem), verdict) for path, verdict in told.items()}


def test_more_planes_than_any_head_needs_are_refused():
    volume = Volume(data_XYZ=np.full((90, 90, 90), 7, np.uint8), affine=np.eye(4))
    anatomy = Anatomy.of(volume, CUTS.window)
    few, many = (replace(CUTS, plane_spacing_mm=spacing) for spacing in (1.0, 0.1))
    angles = [float(angle) for angle in range(-20, 21)]
    assert 0 < len(requested(replace(few, plane_angles_deg=angles), anatomy)) <= MAX_PLANES
    with pytest.raises(InputError, match=r"which asks for \d+ planes; valid: spacings in millimetres, or a"):
        requested(replace(many, plane_angles_deg=angles), anatomy)


def test_a_volume_that_asks_for_too_many_planes_is_left_out_and_the_others_are_cut(tmp_path):
    """A header in micrometres, say; one file's slip must not end the run of all."""
    wrong, right = simulate_patients(tmp_path / "volumes", patients=1, size=32)
    volume = read_volume(wrong)
    write_volume(wrong, replace(volume, affine=volume.affine * [[30], [30], [30], [1]]))
    extract_planes(
        configured(tmp_path / "volumes", tmp_path / "state", plane_spacing_mm=0.6), tmp_path / "set"
    )
    rows = PlaneSet.open(tmp_path / "set").rows
    assert {row.session for row in rows} == {pseudonym("session", right.stem)}
    (refused,) = [
        each for each in passports.read(tmp_path / "set/passports.json") if each.verdict == "refuse"
    ]
    assert refused.session == pseudonym("session", wrong.stem)
    assert "planes; valid: spacings in millimetres" in refused.reason


@pytest.mark.parametrize(
    ("share", "label"),
    [(0.0, NOISE), (0.02, NOISE), (0.0201, UNCERTAIN), (0.0999, UNCERTAIN), (0.10, "coronal")],
)
def test_at_its_bounds_a_share_is_still_noise_and_already_anatomy(share, label):
    assert label_of(CUTS, Plane(name="coronal", angle_deg=0.0, offset_mm=0.0), share, 9) == label
