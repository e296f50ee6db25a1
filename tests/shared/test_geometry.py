import itertools
from dataclasses import replace

import numpy as np
import pytest

from components.shared.geometry import Anatomy, Plane, Window, otsu, planes_of
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
    grey[grey < 3] = 0  # nothing was recorded there
    return Volume(data_XYZ=grey.reshape(shape).astype(np.float32), affine=affine)


def grid(rotation, spacing, shape):
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def cut(volume, name, angle, offset):
    anatomy = Anatomy.of(volume, WINDOW.pixel_mm)
    return anatomy.sample(Plane(name=name, angle_deg=angle, offset_mm=offset), WINDOW)[0]


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


@pytest.mark.parametrize("seed", range(6))
def test_an_oblique_grid_changes_no_plane(seed):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    volume = landmarks(grid(rotation, 0.9, (71, 67, 69)), (71, 67, 69))
    for name, angle, offset in CUTS:
        there, here = cut(volume, name, angle, offset), cut(STRAIGHT, name, angle, offset)
        both = (there > 0) & (here > 0)
        assert np.abs(there.astype(int) - here)[both].mean() < 0.01 * 255


def brightest(picture):
    return np.array(np.unravel_index(picture.argmax(), picture.shape)) - (WINDOW.side_px - 1) / 2


def test_pictures_are_oriented_as_stated():
    anatomy = replace(Anatomy.of(STRAIGHT, WINDOW.pixel_mm), high=260.0)  # no blob is saturated
    centre = (STRAIGHT.affine @ [*anatomy.centre, 1])[:3]

    def plane(name, place):
        along = place[0] - centre[0] if name == SAGITTAL else place[1] - centre[1]
        return brightest(anatomy.sample(Plane(name=name, angle_deg=0.0, offset_mm=along), WINDOW)[0])

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


@pytest.mark.parametrize("shape", [(60, 60, 60), (80, 50, 64)])
@pytest.mark.parametrize("spacing", [(0.9, 0.9, 0.9), (0.7, 1.1, 0.9)])
def test_a_volume_without_anatomy_gives_equal_planes_of_both_classes(shape, spacing):
    rng = np.random.default_rng(0)
    constant = np.full(shape, 100, np.float32)
    for data in (constant, constant + rng.normal(size=shape).astype(np.float32)):
        anatomy = Anatomy.of(Volume(data_XYZ=data, affine=grid(np.eye(3), spacing, shape)), WINDOW.pixel_mm)
        for angle, offset in ((0.0, 0.0), (15.0, 6.0), (-20.0, -8.0)):
            pair = [
                anatomy.sample(Plane(name=name, angle_deg=angle, offset_mm=offset), WINDOW)[0]
                for name in (CORONAL, SAGITTAL)
            ]
            if data is constant:
                assert np.array_equal(*pair)
            else:
                near = [np.abs(np.diff(p.astype(float), axis=1))[20:44, 20:44].mean() for p in pair]
                assert near[0] == pytest.approx(near[1], rel=0.15), "one class is not smoother than the other"


def test_planes_are_every_class_angle_and_offset_once():
    anatomy = Anatomy.of(STRAIGHT, WINDOW.pixel_mm)
    planes = planes_of(anatomy, [-10.0, 0.0, 10.0], 3.0)
    offsets = anatomy.offsets(3.0)
    assert len(set(planes)) == len(planes) == 2 * 3 * len(offsets)
    assert 0.0 in offsets
    assert offsets == [-offset for offset in reversed(offsets)]
    assert 0.85 * anatomy.radius_mm - 3 < max(offsets) <= 0.85 * anatomy.radius_mm


def test_only_the_sphere_is_shown():
    anatomy = Anatomy.of(Volume(data_XYZ=STRAIGHT.data_XYZ + 100, affine=STRAIGHT.affine), WINDOW.pixel_mm)
    wide = Window(field_of_view_mm=80, side_px=80)
    for offset in (0.0, 15.0):
        picture, _ = anatomy.sample(Plane(name=CORONAL, angle_deg=0.0, offset_mm=offset), wide)
        row, column = np.nonzero(picture)
        reach = np.hypot(wide.centres()[row], wide.centres()[column]).max()
        assert reach <= np.sqrt(anatomy.radius_mm**2 - offset**2) + 1e-6


def test_content_is_the_share_of_the_disc_that_is_tissue():
    anatomy = Anatomy.of(STRAIGHT, WINDOW.pixel_mm)
    _, middle = anatomy.sample(Plane(name=CORONAL, angle_deg=0.0, offset_mm=0.0), WINDOW)
    _, end = anatomy.sample(Plane(name=CORONAL, angle_deg=0.0, offset_mm=25.0), WINDOW)
    assert middle > 0.1
    assert end == 0


def test_otsu_parts_two_heaps():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(20, 3, 5000), rng.normal(90, 5, 2000)]).astype(np.float32)
    assert 30 < otsu(values) < 75
    assert not (np.full(10, 7, np.float32) > otsu(np.full(10, 7, np.float32))).any()
