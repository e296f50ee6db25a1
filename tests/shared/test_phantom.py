import numpy as np
import pytest
from scipy import ndimage

from components.shared.faults import InputError
from components.shared.geometry import Anatomy, Plane, Window
from components.shared.phantom import simulate_patients
from components.shared.volumes import read_volume


def test_equal_seeds_give_equal_files_and_every_infant_differs(tmp_path):
    first = simulate_patients(tmp_path / "a", patients=3, size=40)
    again = simulate_patients(tmp_path / "b", patients=3, size=40)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert [p.name[:5] for p in first] == ["sim01", "sim01", "sim02", "sim03"]
    assert len({p.read_bytes() for p in first}) == len({p.name for p in first}) == 4


def test_the_same_call_again_goes_on_and_changes_nothing(tmp_path):
    first = simulate_patients(tmp_path, patients=2, size=32)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = first[0].stat().st_mtime_ns
    first[1].unlink()
    (tmp_path / "volumes.csv").unlink()
    assert simulate_patients(tmp_path, patients=2, size=32) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert first[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("file", "call", "words"),
    [
        ("volumes.csv", {}, "volumes.csv: is there, and lists other volumes"),
        ("sb_01.nrrd", {}, "sb_01.nrrd: is there, and no volume of this call"),
        ("Sb_01.NHDR", {}, "Sb_01.NHDR: is there, and no volume of this call"),
        ("sim02_2024_03_15.nrrd", {}, "sim02_2024_03_15.nrrd: is there, and another volume"),
        ("", {"seed": 1}, "nrrd: is there, and another volume"),
        ("", {"patients": 1}, "nrrd: is there, and no volume of this call"),
        ("", {"patients": 3}, "volumes.csv: is there, and lists other volumes"),
        ("", {"name": "other"}, "nrrd: is there, and no volume of this call"),
    ],
)
def test_what_is_there_is_not_written_over(file, call, words, tmp_path):
    if file:
        (tmp_path / file).write_text("precious")
    else:
        simulate_patients(tmp_path, patients=2, size=32)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=f"{words}; valid: a folder that is empty"):
        simulate_patients(tmp_path, **{"patients": 2, "size": 32, **call})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"patients": 0}, "patients=0: "),
        ({"patients": -3}, "patients=-3: "),
        ({"seed": -1}, "seed=-1: "),
        *(({"name": name}, "name=") for name in ("", "a/b", "../a", "a,b", "a\nb", "n" * 51)),
    ],
)
def test_what_cannot_be_simulated_is_refused(call, words, tmp_path):
    with pytest.raises(InputError, match=rf"^{words}.*; valid: "):
        simulate_patients(tmp_path / "volumes", **call)
    assert not (tmp_path / "volumes").exists()


def test_a_volume_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def cut(path, volume):
        path.write_bytes(b"NRRD")
        raise KeyboardInterrupt

    monkeypatch.setattr("components.shared.phantom.write_volume", cut)
    with pytest.raises(KeyboardInterrupt):
        simulate_patients(tmp_path, patients=1, size=32)
    assert not list(tmp_path.glob("*.nrrd"))
    assert not (tmp_path / "volumes.csv").exists()


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
