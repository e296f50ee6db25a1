"""What whole ways of extraction leave on blanks, and how weak a trace is still found."""

from dataclasses import replace

import numpy as np
import pytest

from components.audit_shortcuts.blanks import CONSTANT, KINDS, RAMP, SPECKLE, cut, gather
from components.audit_shortcuts.judges import PIXELS, SPECTRA, Sheet, judge, nearest_neighbour, pixels
from components.audit_shortcuts.stage import (
    FEWEST_BLANKS,
    MOST_SCANS,
    RAMP_PLANES,
    choose,
    judge_kind,
    judge_pictures,
)
from components.shared.geometry import Anatomy, Window
from components.shared.planes import CORONAL, SAGITTAL
from components.shared.volumes import Volume
from tests.audit_shortcuts.blank_scans import (
    CUTS,
    honest,
    pictures,
    scans_of,
    straight_from_the_grid,
    windowed_by_plane,
)

UNEQUAL = {"spacing": (1.92, 1.2, 1.2), "tilt_deg": 0.0}
OBLIQUE = {"tilt_deg": 2.0, "lean_deg": (14.0, -10.0, 7.0)}
# Pixels that show the scanner's grid, and a window that shows all of the block.
FINE = replace(CUTS, window=Window(field_of_view_mm=48, side_px=128), planes=16)
COARSE = replace(
    CUTS,
    window=Window(field_of_view_mm=90, side_px=256),
    angles_deg=(-15.0, 0.0, 15.0),
    spacing_mm=5.0,
    planes=RAMP_PLANES,
)
WIDE = replace(CUTS, window=Window(field_of_view_mm=120, side_px=64), planes=6)


@pytest.mark.parametrize(
    ("extract", "kind", "judge", "scans", "cuts"),
    [
        (windowed_by_plane, RAMP, PIXELS, scans_of(wanted=10), WIDE),
        (straight_from_the_grid, SPECKLE, SPECTRA, scans_of(**OBLIQUE, wanted=12), FINE),
    ],
    ids=["windowed by plane", "oblique without the low-pass"],
)
def test_another_extraction_is_found_where_ours_is_not(extract, kind, judge, scans, cuts, tmp_path):
    for how, expected in ((extract, True), (honest, False)):
        shown = pictures(how, kind, scans, cuts)
        cases = judge_pictures(kind, shown, range(len(scans)), 0, tmp_path)
        case = next(case for case in cases if case["judge"] == judge)
        assert case["leak"] == expected, case
        assert (case["accuracy"] > 0.65) == expected


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_mark_on_some_planes_alone_is_found(share, tmp_path):
    """A trace by which 0.59 of the planes are told is found; none at all raises no alarm."""
    rng, scans = np.random.default_rng(1), scans_of(wanted=MOST_SCANS)
    seen = gather(SPECKLE, scans, CUTS, 0)
    chosen = seen.sagittal_N & (rng.random(len(seen.sagittal_N)) < share)
    images = seen.images_NHW.copy()
    images[chosen, :16, :16] = 255
    cases = judge_pictures(SPECKLE, replace(seen, images_NHW=images), range(MOST_SCANS), 0, tmp_path)
    assert any(case["leak"] for case in cases) == (share > 0)
    assert all(case["accuracy"] < 0.65 for case in cases), "no stronger than stated"


def test_a_run_has_one_chance_of_a_false_alarm_for_all_its_looks(tmp_path):
    """They are six: two judges at three kinds of blank."""
    seen = gather(SPECKLE, scans_of(wanted=6), replace(CUTS, planes=8), 0)
    sheet = Sheet(
        features_NF=pixels(seen.images_NHW),
        sagittal_N=seen.sagittal_N,
        groups_N=seen.blanks_N,
        volumes_N=seen.blanks_N,
    )
    case, _ = judge_pictures(SPECKLE, seen, range(6), 0, tmp_path)
    assert case["surely_above"] == judge(sheet, nearest_neighbour, 0.025 / 6, 0).surely_above
    assert case["surely_above"] < judge(sheet, nearest_neighbour, 0.025, 0).surely_above


def test_an_interval_is_nearly_twice_what_independent_volumes_would_have():
    """Each is judged by models that the others made."""
    shares_V = np.random.default_rng(0).uniform(0.35, 0.65, 40)
    sheet = Sheet(
        features_NF=np.zeros((40, 1)),
        sagittal_N=np.zeros(40, bool),
        groups_N=np.arange(40),
        volumes_N=np.arange(40),
    )
    low, high = judge(sheet, lambda _: shares_V, 0.025, 0).interval
    assert (high - low) / 2 == pytest.approx(1.9 * 1.96 * shares_V.std() / np.sqrt(40), rel=0.1)


@pytest.mark.parametrize("kind", [CONSTANT, RAMP])
@pytest.mark.parametrize("geometry", [{}, UNEQUAL, {"tilt_deg": 20.0}], ids=["cubes", "unequal", "oblique"])
def test_what_has_no_chance_in_it_is_told_in_half_of_the_planes(kind, geometry, tmp_path):
    cuts = replace(CUTS, planes=RAMP_PLANES)
    for case in judge_kind(kind, scans_of(**geometry), cuts, 0, tmp_path):
        assert case["accuracy"] == pytest.approx(0.5, abs=0.005), case


def test_a_ramp_gives_a_coronal_plane_and_its_partner_the_same_picture():
    """Right and anterior change places, so that the angle is negated: no ramp is off the middle by chance."""
    sizes, middle = (60, 60, 60), np.full(3, 29.5)
    x, y, _ = np.indices(sizes, dtype=np.float32)
    images = []
    for ramp_XYZ, name in ((x, CORONAL), (y, SAGITTAL)):
        anatomy = Anatomy.of(
            Volume(data_XYZ=ramp_XYZ, affine=np.eye(4)), CUTS.window, centre=middle, radius_mm=25.0
        )
        planes = CUTS.of(anatomy, np.random.default_rng(3))
        images.append(
            [shown for shown, _ in anatomy.sample([plane for plane in planes if plane.name == name])]
        )
    assert all(np.array_equal(*pair) for pair in zip(*images, strict=True))


def test_every_other_scan_has_its_ramps_the_other_way_round():
    """One way alone, brighter towards the front would be as much a class as a scanner's grid is."""
    scan = scans_of()[0]
    ways = {}
    for number, _, picture_HW in cut(RAMP, [scan] * 4, CUTS, 0):
        side = picture_HW.shape[0] // 2
        rise = picture_HW[side:].mean() - picture_HW[:side].mean()
        if abs(rise) > 20:  # the ramp along superior, which every plane holds
            ways.setdefault(number, set()).add(bool(rise > 0))
    assert [ways[number] for number in range(4)] == [ways[0], ways[1], ways[0], ways[1]]
    assert len(ways[0]) == 1 and ways[0] != ways[1]


@pytest.mark.parametrize("wanted", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_few_scans_are_stood_in_for_several_times(wanted, kind, tmp_path):
    scans = choose(scans_of(wanted=wanted), 0)
    assert len(scans) == FEWEST_BLANKS
    cases = judge_kind(kind, scans, replace(CUTS, planes=RAMP_PLANES), 0, tmp_path)
    assert [case["volumes"] for case in cases] == [FEWEST_BLANKS] * 2
    assert not [case for case in cases if case["leak"]]


@pytest.mark.parametrize("wanted", [3, 4])
def test_of_few_scans_no_other_blank_of_the_same_gives_a_ramps_planes_away(wanted, tmp_path):
    """Where planes are few, as the demo cuts them, it would: in 0.60 of them."""
    scans = choose(scans_of(wanted=wanted), 0)
    for case in judge_kind(RAMP, scans, COARSE, 0, tmp_path):
        assert case["accuracy"] == pytest.approx(0.5, abs=0.01)


def test_many_scans_are_chosen_over_sites_and_patients():
    many = [
        replace(scan, site="big" if number < 50 else "small", patient=f"p{number // 2}")
        for number, scan in enumerate(scans_of(wanted=60))
    ]
    chosen = choose(many, 0)
    assert len(chosen) == MOST_SCANS
    assert [scan.site for scan in chosen].count("small") >= 5
    assert len({scan.patient for scan in chosen}) >= 13
    assert choose(many, 0) == chosen != choose(many, 1)
