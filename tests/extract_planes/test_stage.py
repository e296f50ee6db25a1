from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from components.extract_planes.stage import Config, extract_planes
from components.shared import storage
from components.shared.faults import InputError
from components.shared.geometry import Anatomy
from components.shared.phantom import EXTENT_MM, simulate_patients
from components.shared.planes import CLASSES, PlaneSet
from components.shared.volumes import read_volume
from components.snapshot_volumes.stage import Config as SnapshotConfig
from components.snapshot_volumes.stage import snapshot
from tests.shared.fake_gcs import fake_gcs

DATA = Path(__file__).parents[3] / "shared" / "data"
PATTERN = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$"
ANGLES = (-15, 0, 15)
SPACING = 8.0


def configured(volumes_uri, state, **changes):
    digest = snapshot(
        SnapshotConfig(
            volumes_uri=str(volumes_uri), patient_pattern=PATTERN, state_uri=str(state), minimum_patients=1
        )
    )
    values = {
        "plane_angles_deg": ANGLES,
        "plane_spacing_mm": SPACING,
        "field_of_view_mm": 80.0,
        "side_px": 64,
    }
    return Config(
        volumes_uri=str(volumes_uri), state_uri=str(state), snapshot_digest=digest, **(values | changes)
    )


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=3, size=48)
    return folder


@pytest.fixture(scope="module")
def extracted(volumes, tmp_path_factory):
    out = tmp_path_factory.mktemp("planes")
    reported = []
    config = configured(volumes, out / "state")
    counts = extract_planes(config, out / "set", lambda done, total: reported.append((done, total)))
    return PlaneSet.open(out / "set"), counts, reported


def test_every_requested_plane_is_there_exactly_once(volumes, extracted):
    planes, counts, reported = extracted
    wanted = set()
    for path in volumes.glob("*.nrrd"):
        offsets = Anatomy.of(read_volume(path), 1.25).offsets(SPACING)
        wanted |= {
            (path.stem, c, float(a), o) for c in ("coronal", "sagittal") for a in ANGLES for o in offsets
        }
    found = Counter((row.session, row.plane, row.angle_deg, row.offset_mm) for row in planes.rows)
    assert set(found) == wanted
    assert set(found.values()) == {1}
    assert sum(counts.values()) == len(planes.rows) == len({row.image for row in planes.rows})
    assert reported[-1] == (len(planes.rows), len(planes.rows))


def test_labels_follow_content_and_every_class_is_there(extracted):
    planes, counts, _ = extracted
    for row in planes.rows:
        expected = row.plane if row.content >= 0.10 else "noise" if row.content <= 0.02 else "uncertain"
        assert row.label == expected
        assert row.image.startswith(row.label + "/")
    assert all(counts[label] >= 5 for label in CLASSES)


def test_no_patient_key_is_in_an_image_name(extracted):
    planes, _, _ = extracted
    assert not any(row.patient in row.image for row in planes.rows)
    assert {row.patient for row in planes.rows} == set(planes.patients) == {"sim01", "sim02", "sim03"}


def test_pictures_show_the_brain_upright(extracted):
    planes, _, _ = extracted
    middle = [r for r in planes.rows if r.offset_mm == 0 and r.angle_deg == 0 and r.plane == "coronal"]
    for picture in planes.images(middle):
        half = picture[:, :32].astype(float), picture[:, :31:-1].astype(float)
        assert np.corrcoef(half[0].ravel(), half[1].ravel())[0, 1] > 0.6, "left and right mirror each other"


def test_a_second_run_is_byte_identical(volumes, extracted, tmp_path):
    planes, _, _ = extracted
    extract_planes(configured(volumes, tmp_path / "elsewhere"), tmp_path / "again")
    for name in ("images.zip", "planes.csv", "planes.json"):
        assert (tmp_path / "again" / name).read_bytes() == (planes.folder / name).read_bytes()


def test_three_channels_hold_the_same_grey(volumes, extracted, tmp_path):
    planes, _, _ = extracted
    extract_planes(configured(volumes, tmp_path / "state", channels=3), tmp_path / "rgb")
    colour = PlaneSet.open(tmp_path / "rgb")
    assert colour.channels == 3
    assert all(map(np.array_equal, colour.images(colour.rows[:20]), planes.images(planes.rows[:20])))


def test_volumes_in_a_bucket_give_the_same_planes(volumes, extracted, tmp_path, monkeypatch):
    planes, _, _ = extracted
    with fake_gcs() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        storage._client.cache_clear()
        storage.upload(volumes, "gs://scans/volumes")
        extract_planes(configured("gs://scans/volumes", "gs://scans/state"), tmp_path / "set")
        storage._client()._http.close()
    storage._client.cache_clear()
    assert PlaneSet.open(tmp_path / "set").rows == planes.rows


def test_a_copy_of_a_volume_loses_no_plane(volumes, tmp_path):
    folder = tmp_path / "volumes"
    for name in ("a_2024_01_01", "a_2024_01_02", "a_2024_01_03"):
        storage.upload(next(volumes.glob("sim02*")), str(folder / f"{name}.nrrd"))
    extract_planes(configured(folder, tmp_path / "state", plane_angles_deg=[0]), tmp_path / "set")
    rows = PlaneSet.open(tmp_path / "set").rows
    assert len({row.volume for row in rows}) == 1
    assert len({row.image for row in rows}) == len(rows)


def test_volumes_that_changed_after_the_snapshot_are_refused(volumes, tmp_path):
    storage.upload(volumes, str(tmp_path / "volumes"))
    config = configured(tmp_path / "volumes", tmp_path / "state")
    changed = min((tmp_path / "volumes").glob("*.nrrd"))
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(InputError, match=f"{changed.name}: changed since the snapshot"):
        extract_planes(config, tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plane_angles_deg", []),
        ("plane_angles_deg", [0, 0]),
        ("plane_angles_deg", [float("nan")]),
        ("plane_angles_deg", [90]),
        ("plane_spacing_mm", 0.0),
        ("field_of_view_mm", -1.0),
        ("side_px", 0),
        ("channels", 2),
        ("noise_up_to", 0.5),
    ],
)
def test_settings_that_cannot_be_are_refused(name, value):
    values = {"plane_angles_deg": [0], "plane_spacing_mm": 1.0, "field_of_view_mm": EXTENT_MM} | {name: value}
    with pytest.raises(InputError, match=f"^{name}="):
        Config(volumes_uri="v", state_uri="s", snapshot_digest="d", **values)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the volumes to try on are not here")
@pytest.mark.parametrize(
    ("place", "least"), [("ultrasound_like", {"coronal", "sagittal"}), ("mri/sb_*.nrrd", {*CLASSES})]
)
def test_real_geometry_gives_its_classes(place, least, tmp_path):
    config = configured(DATA / place, tmp_path / "state", plane_spacing_mm=6.0)
    counts = extract_planes(config, tmp_path / "set")
    assert {label for label in CLASSES if counts[label] >= 5} >= least
