"""The geometry of scans that never were, and ways to cut their blanks that give the class away.

Shapes: H = W = side pixels.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from components.audit_shortcuts.blanks import Cuts, Pictures, Scan, volumes_of
from components.shared.geometry import FULL, Anatomy, Window
from components.shared.planes import SAGITTAL

WINDOW = Window(field_of_view_mm=80, side_px=64)
CUTS = Cuts(window=WINDOW, angles_deg=[-15.0, 0.0, 15.0], spacing_mm=2.0, planes=40)


def scans_of(spacing=(1.2, 1.2, 1.2), tilt_deg=10.0, wanted=14, lean_deg=(0.0, 0.0, 0.0)):
    """Scans longer from front to back than from side to side, off their blocks' centres, each tilted.

    All of them lean by `lean_deg`, and each tilts up to `tilt_deg` from there.
    """
    rng, made = np.random.default_rng(5), []
    for number in range(wanted):
        sizes = tuple(int(n / s + rng.integers(-3, 4)) for n, s in zip((72, 96, 80), spacing, strict=True))
        tilt = rng.uniform(-tilt_deg, tilt_deg, 3)
        turn = Rotation.from_euler("xyz", lean_deg + tilt, degrees=True).as_matrix()
        affine = np.eye(4)
        affine[:3, :3] = turn * spacing
        centre = (np.array(sizes) - 1) / 2 + rng.uniform(-3, 3, 3)
        made.append(
            Scan(
                volume=f"{number:016x}",
                patient=f"p{number:02}",
                site="",
                sizes=sizes,
                affine=affine,
                centre=centre,
                radius_mm=float(rng.uniform(25, 28)),
            )
        )
    return made


def pictures(extract, kind, scans, cuts=CUTS, seed=0):
    """Return planes of one kind of blank as some way of extraction shows them inside the sphere."""
    images, sagittal, blanks = [], [], []
    for number, scan in enumerate(scans):
        rng, planes = np.random.default_rng([seed, number]), []
        for volume in volumes_of(kind, scan, 1 - 2 * (number % 2), rng):
            whole = Anatomy.of(
                volume, replace(cuts.window, field_of_view=FULL), centre=scan.centre, radius_mm=scan.radius_mm
            )
            planes = planes or cuts.of(whole, rng)
            for plane in planes:
                images.append(np.where(disc(whole, plane), extract(volume, whole, plane), 0).astype(np.uint8))
                sagittal.append(plane.name == SAGITTAL)
                blanks.append(number)
    return Pictures(images_NHW=np.stack(images), sagittal_N=np.array(sagittal), blanks_N=np.array(blanks))


def honest(volume, whole, plane):
    """Ours."""
    return whole.sample([plane])[0][0]


def straight_from_the_grid(volume, whole, plane):
    """Trilinear interpolation of the scanner's own voxels, without any low-pass."""
    grey = _trilinear(volume, whole, plane)
    low, high = np.percentile(volume.data_XYZ, [0.5, 99.5])
    return np.clip((grey - low) / (high - low), 0.01, 1) * 255


def windowed_by_plane(volume, whole, plane):
    """Every plane of the block stretched between its own darkest and brightest pixel, as plt.imsave does."""
    grey, shown = _trilinear(volume, whole, plane), honest(volume, whole, plane) > 0
    low, high = grey[shown].min(), grey[shown].max()
    return np.clip((grey - low) / max(high - low, 1), 0.01, 1) * 255


def disc(whole, plane):
    """Return which pixels of a plane lie in the sphere."""
    edge = whole.window.centres()
    return edge[None, :] ** 2 + edge[:, None] ** 2 <= whole.radius_mm**2 - plane.offset_mm**2


def _trilinear(volume, whole, plane):
    edge = whole.window.centres()
    across, down, normal = (whole.to_index @ axis for axis in plane.axes)
    start = whole.centre + plane.offset_mm * normal
    points = start[:, None, None] + across[:, None, None] * edge + down[:, None, None] * edge[:, None]
    return ndimage.map_coordinates(volume.data_XYZ, points, order=1, mode="nearest")
