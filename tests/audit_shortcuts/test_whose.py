"""The blanks stand for their scans, and no judge learns from the patient whom it judges."""

from dataclasses import replace

import numpy as np
import pytest

from components.audit_shortcuts.blanks import CONSTANT, cut
from components.audit_shortcuts.judges import Sheet, nearest_neighbour, regression
from components.audit_shortcuts.real import _balanced, _judged
from components.audit_shortcuts.stage import ENOUGH_PATIENTS, _cuts, _groups
from components.shared.planes import CORONAL, SAGITTAL, PlaneRow, PlaneSet
from tests.audit_shortcuts.blank_scans import CUTS, scans_of
from tests.drawn_planes import write_planes


def test_blanks_of_one_patient_are_left_out_together():
    scans = scans_of(wanted=2 * ENOUGH_PATIENTS)
    twice = [replace(scan, patient=f"p{number // 2}") for number, scan in enumerate(scans)]
    assert _groups(twice) == [number // 2 for number in range(2 * ENOUGH_PATIENTS)]


def test_real_planes_are_judged_without_the_other_scans_of_their_patient():
    """By one number that only another scan of the same patient gives away."""
    rows = [
        PlaneRow(image=f"{k}{scan}{label}", label=label, patient=f"p{k}", volume=f"v{k}{scan}")
        for k in range(4)
        for scan in range(2)
        for label in (CORONAL, SAGITTAL)
    ]
    number_N1 = np.array([[10.0 * int(row.patient[1]) + (row.label == SAGITTAL)] for row in rows])
    assert _judged(rows, number_N1, nearest_neighbour, 0)["accuracy"] < 0.7


def test_no_regression_learns_from_the_other_scans_of_a_patient():
    """By features that each patient has alone."""
    patients, scans, planes = 6, 2, 4
    groups_N = np.repeat(np.arange(patients), scans * planes)
    sagittal_N = np.tile([True, False], patients * scans * planes // 2)
    sheet = Sheet(
        features_NF=np.eye(patients)[groups_N] * np.where(sagittal_N, 1.0, -1.0)[:, None],
        sagittal_N=sagittal_N,
        groups_N=groups_N,
        volumes_N=np.repeat(np.arange(patients * scans), planes),
    )
    assert regression(sheet).mean() == 0.5
    assert regression(replace(sheet, groups_N=sheet.volumes_N)).mean() > 0.9, "they would give it away"


def test_as_many_planes_of_each_class_are_judged_from_end_to_end_of_a_volume():
    rows = [
        PlaneRow(image=f"{label}{k}", label=label, volume="v", offset_mm=float(k))
        for label, count in ((CORONAL, 9), (SAGITTAL, 3))
        for k in range(count)
    ]
    for wanted, offsets in ((9, {0, 1, 2}), (2, {0, 2})):
        chosen = _balanced(rows, {"v"}, wanted)
        assert {row.offset_mm for row in chosen if row.label == SAGITTAL} == offsets
        coronal = [row.offset_mm for row in chosen if row.label == CORONAL]
        assert (len(coronal), min(coronal), max(coronal)) == (len(offsets), 0, 8)


def test_a_blank_shows_the_sphere_of_the_scan_that_it_stands_for():
    scans = scans_of(wanted=3)
    pixel = CUTS.window.pixel_mm
    for number, plane, picture_HW in cut(CONSTANT, scans, replace(CUTS, planes=6), 0):
        expected = np.pi * (scans[number].radius_mm ** 2 - plane.offset_mm**2)
        assert (picture_HW > 0).sum() * pixel**2 == pytest.approx(expected, rel=0.05)


def test_blanks_are_cut_as_the_planes_were(tmp_path):
    settings = {
        "field_of_view": "disc",
        "field_of_view_mm": 70.0,
        "plane_angles_deg": [-9.0, 0.0, 9.0],
        "plane_spacing_mm": 2.5,
    }
    planes: PlaneSet = replace(write_planes(tmp_path, ["a"], 1), settings=settings)
    cuts = _cuts(planes, CONSTANT)
    assert (cuts.window.field_of_view, cuts.window.field_of_view_mm) == ("disc", 70.0)
    assert (cuts.window.side_px, cuts.angles_deg, cuts.spacing_mm) == (planes.side, [-9.0, 0.0, 9.0], 2.5)
