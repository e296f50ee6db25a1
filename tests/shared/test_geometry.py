import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sklearn.metrics import roc_auc_score

from components.shared.geometry import DISC, FULL, REACH, Anatomy, Plane, Window, otsu, planes_of
from components.shared.planes import CORONAL, SAGITTAL
from components.shared.volumes import Volume

WINDOW = Window(field_of_view_mm=60, side_px=64)
# Blobs (right, anterior, superior) in millimetres, each of its own grey level, on a dim ball.
BLOBS = {(10, 0, 0): 250, (0, 12, 0): 210, (0, 0, 11): 170, (-8, -8, 0): 140, (0, -6, -10): 120}


def landmarks(affine, shape):
    """A smooth scene of points that are known to be right, in front, up; seen by any grid."""
    index = np.indices(shape).reshape(3, -1)
    world = (affine[:3, :3] @ index + affine[:3, 3:]).T
    grey = 60 / (1 + np.exp((np.linalg.norm(world, axis=1) - 20) / 0.8))
    for place, level in BLOBS.items():
        grey = np.maximum(grey, level * np.exp(-((world - place) ** 2).sum(axis=1) / 18))
    grey += 5 + 0.05 * world.sum(axis=1)  # so that nothing is empty, and no threshold decides what is
    return Volume(data_XYZ=grey.reshape(shape).astype(np.float32), affine=affine)


def grid(rotation, spacing, shape):
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def cut(volume, name, angle, offset):
    return Anatomy.of(volume, WINDOW).sample([Plane(name=name, angle_deg=angle, offset_mm=offset)])[0][0]


STRAIGHT = landmarks(grid(np.eye(3), 0.9, (67, 67, 67)), (67, 67, 67))
CUTS = [(CORONAL, 0.0, 0.0), (CORONAL, 15.0, 4.0), (SAGITTAL, 0.0, -4.0), (SAGITTAL, -20.0, 2.0)]


def orders_and_signs():
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[:, order] * signs


@pytest.mark.parametrize("number", range(48))
def test_the_order_and_sign_of_stored_axes_change_no_plane(number):
    rotation = list(orders_and_signs())[number]
    volume = landmarks(grid(rotation, 0.9, (67, 67, 67)), (67, 67, 67))
    for name, angle, offset in CUTS:
        difference = cut(volume, name, angle, offset).astype(int) - cut(STRAIGHT, name, angle, offset)
        assert np.abs(difference).mean() < 0.01 * 255


@settings(max_examples=12, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    spacing=st.tuples(*[st.floats(0.6, 1.1)] * 3),
    flip=st.sampled_from([(1, 1, 1), (-1, 1, 1), (1, -1, -1)]),
)
def test_an_oblique_grid_changes_no_plane(turn, spacing, flip):
    rotation = Rotation.from_quat(turn).as_matrix() * flip
    shape = tuple(int(58 / each) for each in spacing)
    volume = landmarks(grid(rotation, spacing, shape), shape)
    for name, angle, offset in CUTS:
        there, here = cut(volume, name, angle, offset), cut(straight(max(spacing)), name, angle, offset)
        both = (there > 0) & (here > 0)
        assert both.sum() > 500
        assert np.abs(there.astype(int) - here)[both].mean() < 0.01 * 255


@cache
def straight(spacing):
    """The scene on a straight grid of that spacing, which is blurred as much as one whose coarsest it is."""
    shape = (int(58 / spacing),) * 3
    return landmarks(grid(np.eye(3), spacing, shape), shape)


def brightest(picture):
    return np.array(np.unravel_index(picture.argmax(), picture.shape)) - (WINDOW.side_px - 1) / 2


def test_pictures_are_oriented_as_stated():
    anatomy = replace(Anatomy.of(STRAIGHT, WINDOW), high=260.0)  # no blob is saturated
    centre = (STRAIGHT.affine @ [*anatomy.centre, 1])[:3]

    def plane(name, place):
        along = place[0] - centre[0] if name == SAGITTAL else place[1] - centre[1]
        return brightest(anatomy.sample([Plane(name=name, angle_deg=0.0, offset_mm=along)])[0][0])

    assert plane(CORONAL, (10, 0, 0))[1] < -5, "the patient's right is on the left of a coronal picture"
    assert plane(SAGITTAL, (0, 12, 0))[1] < -5, "anterior is on the left of a sagittal picture"
    up = np.zeros_like(STRAIGHT.data_XYZ)
    up[30:37, 30:37, 40:60] = 100
    up[20:47, 20:47, 10:30] = 50
    for name in (CORONAL, SAGITTAL):
        volume = Volume(data_XYZ=up, affine=STRAIGHT.affine)
        assert brightest(cut(volume, name, 0.0, 0.0))[0] < 0, "superior is up"


def test_an_angle_turns_the_normal_about_the_superior_axis():
    for name, straight in ((SAGITTAL, [1, 0, 0]), (CORONAL, [0, 1, 0])):
        for angle in (-20.0, 0.0, 20.0):
            columns, rows, normal = Plane(name=name, angle_deg=angle, offset_mm=0.0).axes
            assert np.dot(normal, straight) == pytest.approx(np.cos(np.deg2rad(angle)))
            assert np.allclose(np.abs(np.linalg.det([columns, rows, normal])), 1)
            assert rows.tolist() == [0, 0, -1]


@pytest.mark.parametrize(("name", "place"), [(SAGITTAL, (10, 0, 0)), (CORONAL, (0, 12, 0))])
def test_a_plane_lies_at_its_offset_and_turns_the_same_way_in_both_classes(name, place):
    """By the normal and the columns of a plane that is turned anticlockwise, seen from above."""
    anatomy = replace(Anatomy.of(STRAIGHT, WINDOW), high=260.0)
    away = np.array(place) - (STRAIGHT.affine @ [*anatomy.centre, 1])[:3]
    right, front = np.array([[0.9397, 0.3420, 0.0], [-0.3420, 0.9397, 0.0]])  # by 20 degrees
    normal, columns = (right, -front) if name == SAGITTAL else (front, -right)
    sides = [Plane(name=name, angle_deg=20.0, offset_mm=sign * float(away @ normal)) for sign in (1, -1)]
    (there, _), (opposite, _) = anatomy.sample(sides)
    assert there.max() > opposite.max() + 40
    assert brightest(there)[1] * WINDOW.pixel_mm == pytest.approx(away @ columns, abs=1.5)


def test_a_smaller_window_shows_the_middle_of_a_larger_one():
    large = Anatomy.of(STRAIGHT, WINDOW)
    small = Anatomy.of(STRAIGHT, Window(field_of_view_mm=30, side_px=32))
    small = replace(small, low=large.low, high=large.high)
    planes = [Plane(name=name, angle_deg=15.0, offset_mm=20.0) for name in (CORONAL, SAGITTAL)]
    for (whole, _), (part, _) in zip(large.sample(planes), small.sample(planes), strict=True):
        assert part.any() and np.abs(whole[16:48, 16:48].astype(int) - part).max() <= 1


def blank(values_XYZ, spacing=(0.9, 0.9, 0.9), rotation=None, window=WINDOW, **given):
    affine = grid(np.eye(3) if rotation is None else rotation, spacing, values_XYZ.shape)
    return Anatomy.of(Volume(data_XYZ=values_XYZ, affine=affine), window, **given)


def pair(anatomy, angle, offset):
    return [
        anatomy.sample([Plane(name=name, angle_deg=angle, offset_mm=offset)])[0][0]
        for name in (CORONAL, SAGITTAL)
    ]


@pytest.mark.parametrize("shape", [(60, 60, 60), (80, 50, 64)])
def test_a_constant_gives_the_same_picture_of_both_classes(shape):
    tilted = Rotation.from_euler("xyz", [8, -5, 12], degrees=True).as_matrix()
    for rotation in (np.eye(3), tilted):
        anatomy = blank(np.full(shape, 100, np.uint8), (0.7, 1.1, 0.9), rotation)
        for angle, offset in ((0.0, 0.0), (15.0, 6.0), (-20.0, -8.0)):
            coronal, sagittal = pair(anatomy, angle, offset)
            assert np.array_equal(coronal, sagittal)
            assert set(np.unique(coronal)) == {0, 128}, "a disc that stands out against black"


def test_a_slope_is_as_steep_along_the_longer_axis():
    """Grey levels taken from the whole block would give the longer axis a flatter slope."""
    values = [
        np.broadcast_to(line, (100, 60, 60))
        for line in (np.arange(100.0)[:, None, None], np.arange(60.0)[:, None])
    ]
    middle = {"centre": np.array([49.5, 29.5, 29.5]), "radius_mm": 24.0}
    coronal = pair(blank(values[0].astype(np.float32), **middle), 0.0, 3.0)[0]
    sagittal = pair(blank(values[1].astype(np.float32), **middle), 0.0, 3.0)[1]
    assert np.abs(coronal.astype(int) - sagittal).max() <= 2
    assert np.ptp(coronal[32]) > 240


def test_grey_levels_are_of_what_the_scanner_filled_clear_of_its_rim():
    """How much of the sphere is empty, and how long its blurred rim is, changes no contrast."""
    data = np.random.default_rng(0).uniform(100, 140, (60, 60, 60)).astype(np.float32)
    middle = {"centre": np.full(3, 29.5), "radius_mm": 22.0}
    whole = blank(data, **middle)
    data[:, :24], data[:18, 36:] = 0, 0
    part = blank(data, **middle)
    assert (part.low, part.high) == pytest.approx((whole.low, whole.high), abs=2)


def test_a_given_centre_and_radius_are_kept():
    data = np.random.default_rng(0).random((60, 70, 50), np.float32)
    anatomy = blank(data, centre=np.array([31.0, 30.0, 26.5]), radius_mm=17.5)
    assert anatomy.centre.tolist() == [31.0, 30.0, 26.5]
    assert anatomy.radius_mm == 17.5


def test_full_shows_the_block_and_nothing_beyond_it():
    wide = Window(field_of_view_mm=90, side_px=90, field_of_view=FULL)
    anatomy = blank(np.full((80, 40, 60), 100, np.uint8), (1.0, 1.0, 1.0), window=wide)
    coronal, sagittal = pair(anatomy, 0.0, 0.0)
    for picture, width in ((coronal, 80), (sagittal, 40)):
        rows, columns = np.nonzero(picture)
        assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (width, 60)
        assert len(rows) == width * 60


def test_speckle_is_as_sharp_along_a_coarse_axis():
    """Variance of differences between neighbouring pixels, across and down, with 1.6 times the spacing."""
    rng, ratios = np.random.default_rng(0), []
    for _ in range(3):
        anatomy = blank(rng.rayleigh(size=(50, 80, 80)).astype(np.float32), (1.44, 0.9, 0.9))
        for offset in (-6.0, -1.0, 4.0):
            coronal, sagittal = (p[20:44, 20:44].astype(float) for p in pair(anatomy, 0.0, offset))
            across, down = np.diff(coronal, axis=1).var(), np.diff(coronal, axis=0).var()
            ratios.append(
                (across / down) / (np.diff(sagittal, axis=1).var() / np.diff(sagittal, axis=0).var())
            )
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1, rel=0.15)


def test_planes_are_every_class_angle_and_offset_once():
    anatomy = Anatomy.of(STRAIGHT, WINDOW)
    planes = planes_of(anatomy, [-10.0, 0.0, 10.0], 3.0)
    offsets = anatomy.offsets(3.0)
    assert len(set(planes)) == len(planes) == 2 * 3 * len(offsets)
    assert 0.0 in offsets
    assert offsets == [-offset for offset in reversed(offsets)]
    assert 0.85 * anatomy.radius_mm - 3 < max(offsets) <= 0.85 * anatomy.radius_mm


def test_only_the_sphere_is_shown():
    wide = Window(field_of_view_mm=80, side_px=80)
    anatomy = Anatomy.of(Volume(data_XYZ=STRAIGHT.data_XYZ + 100, affine=STRAIGHT.affine), wide)
    for offset in (0.0, 15.0):
        picture, _ = anatomy.sample([Plane(name=CORONAL, angle_deg=0.0, offset_mm=offset)])[0]
        row, column = np.nonzero(picture)
        reach = np.hypot(wide.centres()[row], wide.centres()[column]).max()
        assert reach <= np.sqrt(anatomy.radius_mm**2 - offset**2) + 1e-6


def test_a_disc_is_as_large_on_every_plane_and_no_larger_than_the_sphere_allows():
    wide = Window(field_of_view_mm=80, side_px=80)
    bright = Volume(data_XYZ=STRAIGHT.data_XYZ + 100, affine=STRAIGHT.affine)
    disc = Anatomy.of(bright, replace(wide, field_of_view=DISC))
    sphere, offsets = Anatomy.of(bright, wide), disc.offsets(3.0)
    planes = [Plane(name=SAGITTAL, angle_deg=5.0, offset_mm=offset) for offset in offsets]
    shown = [picture > 0 for picture, _ in disc.sample(planes)]
    assert all(np.array_equal(shown[0], other) for other in shown)
    inside = [picture > 0 for picture, _ in sphere.sample(planes)]
    assert all((small <= large).all() for small, large in zip(shown, inside, strict=True))
    assert shown[0].sum() == pytest.approx(np.pi * (1 - REACH**2) * disc.radius_mm**2, rel=0.02)


def test_the_sphere_keeps_off_the_faces():
    """Near a face there is less to blur with; what is shown must not tell how near."""
    rng = np.random.default_rng(0)
    anatomy = blank(rng.rayleigh(size=(80, 44, 80)).astype(np.float32))
    coronal = np.stack([pair(anatomy, 0.0, float(o))[1] for o in range(-8, 9, 2)]).astype(float)
    across = WINDOW.centres()
    rim = np.abs(across) > anatomy.radius_mm * 0.9
    shown = np.where(coronal > 0, coronal, np.nan)
    assert np.nanstd(shown[:, :, rim]) == pytest.approx(np.nanstd(shown[:, :, ~rim]), rel=0.2)


def test_content_is_the_share_of_the_disc_that_is_tissue():
    anatomy = Anatomy.of(STRAIGHT, WINDOW)
    _, middle = anatomy.sample([Plane(name=CORONAL, angle_deg=0.0, offset_mm=0.0)])[0]
    _, end = anatomy.sample([Plane(name=CORONAL, angle_deg=0.0, offset_mm=25.0)])[0]
    assert middle > 0.1
    assert end == 0


def test_what_lies_outside_the_disc_is_no_content():
    """The sphere is part of a block that goes on around it, and is bright there."""
    around = np.linalg.norm(np.indices((81,) * 3) - 40.0, axis=0) > 30
    anatomy = blank(np.where(around, 200.0, 0.0).astype(np.float32), (1.0,) * 3, radius_mm=24.0)
    planes = [Plane(name=CORONAL, angle_deg=10.0, offset_mm=offset) for offset in (0.0, 15.0)]
    assert [content for _, content in anatomy.sample(planes)] == [0, 0]


def test_a_small_end_disc_full_of_tissue_is_anatomy_and_a_large_empty_one_is_not():
    """Content is a share of the disc: where planes are empty and where full, not their size, makes noise."""
    size, middle = 81, 40.0
    x, y, z = np.indices((size,) * 3) - middle
    ends, core = np.abs(x) > 20, x**2 + y**2 + z**2 < 8**2
    hollow = np.where(ends, 200.0, 0.0).astype(np.float32)  # tissue at both ends, nothing in the middle
    heart = np.where(core, 200.0, 0.0).astype(np.float32)  # tissue in the middle, nothing at the ends
    radius, empty = [], []
    for values in (hollow, heart):
        anatomy = blank(values, (1.0, 1.0, 1.0), centre=np.full(3, middle), radius_mm=38.0)
        for offset in anatomy.offsets(3.0):
            _, content = anatomy.sample([Plane(name=SAGITTAL, angle_deg=0.0, offset_mm=offset)])[0]
            radius.append(np.sqrt(38.0**2 - offset**2))
            empty.append(content <= 0.02)
            if values is hollow and abs(offset) > 0.8 * REACH * 38:
                assert content > 0.9, "a small disc, full"
    assert 0.25 < roc_auc_score(empty, radius) < 0.75, "disc size does not tell an empty plane"


def test_otsu_parts_two_heaps():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(20, 3, 5000), rng.normal(90, 5, 2000)]).astype(np.float32)
    assert 30 < otsu(values) < 75
    assert not (np.full(10, 7, np.float32) > otsu(np.full(10, 7, np.float32))).any()
