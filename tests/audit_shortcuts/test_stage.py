"""No class is told on volumes without anatomy; every planted shortcut is found on one that can show it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from components.audit_shortcuts.blanks import (
    CONSTANT,
    KINDS,
    RAMP,
    SPECKLE,
    Pictures,
    cut,
    gather,
)
from components.audit_shortcuts.judges import PIXELS, SPECTRA
from components.audit_shortcuts.real import tells_noise
from components.audit_shortcuts.stage import (
    Config,
    audit_shortcuts,
    judge_kind,
    judge_pictures,
    read_scans,
)
from components.extract_planes.stage import Config as Extraction
from components.extract_planes.stage import Cuts as Extracted
from components.extract_planes.stage import extract_planes
from components.shared import geometry, resampling
from components.shared.audit import FINDINGS
from components.shared.faults import InputError
from components.shared.geometry import DISC, FULL, SPHERE
from components.shared.phantom import simulate_patients
from components.shared.planes import CORONAL, NOISE, PlaneRow, PlaneSet
from components.snapshot_volumes.stage import Config as Listing
from components.snapshot_volumes.stage import snapshot
from tests.audit_shortcuts.blank_scans import CUTS, WINDOW, scans_of

DATA = Path(__file__).parents[3] / "shared" / "data"
SCANS = scans_of()
GROUPS = list(range(len(SCANS)))


@pytest.fixture(scope="module")
def honest():
    return {kind: gather(kind, SCANS, CUTS, 0) for kind in KINDS}


def found(kind, pictures, tmp_path):
    return {case["judge"]: case for case in judge_pictures(kind, pictures, GROUPS, 0, tmp_path)}


def planted(pictures, spoil):
    """Return the pictures with every sagittal one spoiled."""
    images = [
        spoil(image_HW.copy()) if sagittal else image_HW
        for image_HW, sagittal in zip(pictures.images_NHW, pictures.sagittal_N, strict=True)
    ]
    return replace(pictures, images_NHW=np.stack(images))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_told_where_nothing_was_planted(kind, honest, tmp_path):
    for case in found(kind, honest[kind], tmp_path).values():
        assert not case["leak"]
        low, high = case["interval"]
        assert low <= 0.5 <= high or case["accuracy"] < 0.5
    assert not list(tmp_path.iterdir())


def test_constant_blanks_tie_and_count_one_half(honest, tmp_path):
    assert found(CONSTANT, honest[CONSTANT], tmp_path)[PIXELS]["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("spacing", "tilt_deg"), [((1.92, 1.2, 1.2), 0.0), ((1.2, 1.92, 1.2), 15.0), ((1.2, 1.2, 1.2), 0.0)]
)
def test_speckle_on_unequal_and_straight_grids_tells_nothing(spacing, tilt_deg, tmp_path):
    scans = scans_of(spacing, tilt_deg)
    assert not [case for case in judge_kind(SPECKLE, scans, CUTS, 0, tmp_path) if case["leak"]]


def test_unequal_spacing_without_the_low_pass_is_told_by_the_spectrum(monkeypatch, tmp_path):
    def straight(volume, centre, half_mm, radius_mm, coarsest_mm):
        """Read the grid from the scan's by trilinear interpolation alone."""
        pitch = resampling.PITCH * coarsest_mm
        half = np.ceil(half_mm / pitch).astype(int) + 1
        matrix = np.linalg.inv(volume.affine[:3, :3]) * pitch
        wide = tuple(2 * half + 1)
        return affine_transform(
            volume.data_XYZ, matrix, centre - matrix @ half, output_shape=wide, order=1, mode="nearest"
        )

    monkeypatch.setattr(geometry, "patient_grid", straight)
    cases = judge_kind(SPECKLE, scans_of((1.92, 1.2, 1.2), 0.0), CUTS, 0, tmp_path)
    assert [case["judge"] for case in cases if case["leak"]] == [SPECTRA]
    assert cases[1]["accuracy"] > 0.9
    assert (tmp_path / cases[1]["picture"]).stat().st_size > 0


def bars(image_HW):
    image_HW[:16] = image_HW[-16:] = 0
    return image_HW


def squeezed(image_HW):
    columns = np.clip(np.rint((np.arange(64) - 31.5) * 1.15 + 31.5), 0, 63).astype(int)
    return image_HW[:, columns]


def marked(image_HW):
    image_HW[2:4, 2:4] = 255
    return image_HW


def steeper(image_HW):
    """As a window that is taken from each plane of the block does, which is longer in one class."""
    shown = image_HW > 0
    image_HW[shown] = np.clip((image_HW[shown] - 128.0) * 96 / 72 + 128, 1, 255)
    return image_HW


def smoother(image_HW):
    return ((image_HW.astype(int) + np.roll(image_HW, 1, axis=1)) // 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "spoil", "judge"),
    [
        (CONSTANT, bars, PIXELS),
        (CONSTANT, squeezed, PIXELS),
        (CONSTANT, marked, PIXELS),
        (RAMP, steeper, PIXELS),
        (SPECKLE, smoother, SPECTRA),
    ],
)
def test_a_planted_shortcut_is_found_and_drawn(kind, spoil, judge, honest, tmp_path):
    case = found(kind, planted(honest[kind], spoil), tmp_path)[judge]
    assert case["leak"]
    assert case["accuracy"] > 0.8
    assert (tmp_path / case["picture"]).read_bytes().startswith(b"\x89PNG")


def test_a_sphere_about_another_centre_than_the_planes_is_found(tmp_path):
    """Planes and offsets about the content's centroid, the sphere about the block's middle."""
    edge, images, sagittal, blanks = WINDOW.centres(), [], [], []
    for number, plane, _ in cut(CONSTANT, SCANS, CUTS, 0):
        away = np.array([0.0, 6.0, 1.0])  # heads lie further back in their blocks than in the middle
        across, down, normal = (float(away @ axis) for axis in plane.axes)
        squares = (
            (edge[:, None] - down) ** 2 + (edge[None, :] - across) ** 2 + (plane.offset_mm - normal) ** 2
        )
        images.append(np.where(squares <= SCANS[number].radius_mm ** 2, 128, 0).astype(np.uint8))
        sagittal.append(plane.name == "sagittal")
        blanks.append(number)
    pictures = Pictures(images_NHW=np.stack(images), sagittal_N=np.array(sagittal), blanks_N=np.array(blanks))
    case = found(CONSTANT, pictures, tmp_path)[PIXELS]
    assert case["leak"]
    assert case["accuracy"] > 0.9


def test_the_full_field_of_view_is_told_by_the_blocks_outline(tmp_path):
    full = replace(CUTS, window=replace(WINDOW, field_of_view=FULL, field_of_view_mm=120))
    cases = judge_kind(CONSTANT, SCANS, full, 0, tmp_path)
    assert cases[0]["leak"]
    assert cases[0]["accuracy"] > 0.9


def extracted(volumes, root, **changes):
    state = str(root / "state")
    listing = Listing(
        volumes_uri=str(volumes),
        patient_pattern=r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$",
        state_uri=state,
        minimum_patients=1,
    )
    values = {
        "plane_angles_deg": [-10, 0, 10],
        "plane_spacing_mm": 6.0,
        "field_of_view_mm": 100.0,
        "side_px": 64,
    }
    config = Extraction(
        volumes_uri=str(volumes),
        state_uri=state,
        snapshot_digest=snapshot(listing),
        cuts=Extracted(**(values | changes)),
    )
    extract_planes(config, root / "planes")
    return root / "planes"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=6, size=48)
    return folder


def test_an_extraction_passes_and_its_findings_are_written(volumes, tmp_path):
    planes = extracted(volumes, tmp_path)
    result = audit_shortcuts(Config(audit="stop", seed=0), planes, tmp_path / "out")
    assert json.loads(json.dumps(result)) == json.loads((tmp_path / "out" / FINDINGS).read_text())
    assert result["verdict"] == "at chance"
    assert {(case["judge"], case["kind"]) for case in result["cases"]} == {
        (judge, kind) for judge in (PIXELS, SPECTRA) for kind in KINDS
    }
    assert result["scans"] == len(read_scans(PlaneSet.open(planes))) == 7
    assert {case["what"] for case in result["real"]["cases"]} == {"silhouette", "file size", "mean grey"}
    assert 0.8 < result["real"]["disc_radius_tells_noise"] <= 1, "empty planes lie at the sphere's ends"
    assert result["real"]["mean_grey_tells_noise"] > 0.95


def test_noise_is_not_told_by_disc_size_where_discs_are_alike(volumes, tmp_path):
    planes = extracted(volumes, tmp_path, field_of_view=DISC)
    result = audit_shortcuts(Config(audit="stop", seed=0), planes, tmp_path / "out")
    assert sum(row.label == "noise" for row in PlaneSet.open(planes).rows) >= 10
    assert result["real"]["disc_radius_tells_noise"] == 0.5
    assert result["real"]["mean_grey_tells_noise"] > 0.95


def test_a_number_tells_noise_by_pairs_of_one_volume():
    rows = [
        PlaneRow(image=f"{volume}{n}", label=NOISE if n < noise else CORONAL, volume=volume)
        for volume, noise in (("a", 2), ("b", 1), ("c", 0))
        for n in range(4)
    ]
    assert tells_noise(rows, np.arange(12)) == 1.0
    assert tells_noise(rows, -np.arange(12)) == 0.0
    assert tells_noise(rows, np.zeros(12)) == 0.5
    uneven = np.array([1, 2, 1, 2, 0, 0, 1, 1, 9, 9, 9, 9])  # 2 of 4 pairs, and 2.5 of 3
    assert tells_noise(rows, uneven) == (2 + 2.5) / 7
    assert tells_noise(rows[8:], np.arange(4)) is None


def test_full_stops_a_run_goes_on_with_warn_and_is_not_seen_when_off(volumes, tmp_path, capsys):
    planes = extracted(volumes, tmp_path, field_of_view=FULL, field_of_view_mm=120.0)
    # A cube gives both classes the same outline: as if the blocks were longer than wide.
    listed = json.loads((planes / "passports.json").read_text())
    for passport in listed:
        passport["measured"]["sizes"] = [48, 48, 30]
        passport["measured"]["centre_voxels"] = [23.5, 23.5, 14.5]
        passport["measured"]["radius_mm"] = 20.0
    (planes / "passports.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match=rf"^audit=stop: {PIXELS} tells .* set field_of_view={SPHERE}"):
        audit_shortcuts(Config(audit="stop", seed=0), planes, tmp_path / "stop")
    assert audit_shortcuts(Config(audit="warn", seed=0), planes, tmp_path / "warn")["verdict"] == "leak"
    assert '"event": "warning"' in capsys.readouterr().out
    assert audit_shortcuts(Config(audit="off", seed=0), planes, tmp_path / "off")["verdict"] == "skipped"


def test_planes_without_passports_are_refused(volumes, tmp_path):
    planes = extracted(volumes, tmp_path)
    audit_shortcuts(Config(audit="off", seed=0), planes, tmp_path / "out")
    (planes / "passports.json").unlink()
    with pytest.raises(InputError, match=r"passports\.json: absent"):
        audit_shortcuts(Config(audit="stop", seed=0), planes, tmp_path / "out")
    assert not (tmp_path / "out" / FINDINGS).exists(), "what an earlier audit found is not this one's"


def test_a_volume_without_a_passport_is_named(volumes, tmp_path):
    planes = extracted(volumes, tmp_path)
    listed = json.loads((planes / "passports.json").read_text())
    (planes / "passports.json").write_text(json.dumps(listed[1:]))
    with pytest.raises(InputError, match=f"no passport for volume {listed[0]['volume']}"):
        read_scans(PlaneSet.open(planes))


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="audit=perhaps"):
        Config(audit="perhaps", seed=0)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the volumes to try on are not here")
@pytest.mark.parametrize("place", ["ultrasound_like", "mri/sb_*.nrrd"])
def test_the_shapes_of_real_volumes_pass(place, tmp_path):
    planes = extracted(DATA / place, tmp_path, side_px=256)
    result = audit_shortcuts(Config(audit="stop", seed=0), planes, tmp_path / "out")
    assert [case for case in result["cases"] if case["interval"][0] > 0.5] == []
