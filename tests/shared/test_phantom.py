import numpy as np
from scipy import ndimage

from components.shared.geometry import Anatomy, Plane, Window
from components.shared.phantom import simulate_patients
from components.shared.volumes import read_volume


def test_equal_seeds_give_equal_files_and_every_infant_differs(tmp_path):
    first = simulate_patients(tmp_path / "a", patients=3, size=40)
    again = simulate_patients(tmp_path / "b", patients=3, size=40)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert [p.name[:5] for p in first] == ["sim01", "sim01", "sim02", "sim03"]
    assert len({p.read_bytes() for p in first}) == len({p.name for p in first}) == 4


def test_left_mirrors_right_and_front_does_not_mirror_back(tmp_path):
    window = Window(field_of_view_mm=80, side_px=64)
    for path in simulate_patients(tmp_path, patients=2, size=64):
        anatomy = Anatomy.of(read_volume(path), window)

        def mirrored(name, anatomy=anatomy):
            """How like its mirror image a thick slab is, the symmetry's centre being searched."""
            slab = np.mean(
                [
                    anatomy.sample([Plane(name=name, angle_deg=0.0, offset_mm=float(o))])[0][0]
                    for o in range(-24, 25, 4)
                ],
                axis=0,
            )
            smooth = ndimage.gaussian_filter(slab, 1.5)
            shifts = [np.roll(smooth[:, ::-1], shift, axis=1) for shift in range(-8, 9)]
            return max(np.corrcoef(smooth.ravel(), other.ravel())[0, 1] for other in shifts)

        assert mirrored("coronal") > 0.96
        assert mirrored("coronal") > mirrored("sagittal") + 0.01
