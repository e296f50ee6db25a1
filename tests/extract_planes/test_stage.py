import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest

from components.extract_planes import stage
from components.extract_planes.kept_planes import open_kept
from components.extract_planes.stage import Config, Cuts, extract_planes, extract_shard
from components.shared import passports, storage
from components.shared.faults import InputError
from components.shared.geometry import Anatomy, Window
from components.shared.phantom import EXTENT_MM, simulate_patients
from components.shared.planes import CLASSES, PlaneSet
from components.shared.pseudonyms import read_pseudonyms
from components.shared.storage import clients
from components.shared.storage.clients import aws
from components.shared.storage.patience import PATIENT
from components.shared.volumes import read_volume
from components.snapshot_volumes.stage import Config as SnapshotConfig
from components.snapshot_volumes.stage import snapshot
from tests.shared.buckets import s3_bucket
from tests.shared.fake_gcs import fake_gcs

DATA = Path(__file__).parents[3] / "shared" / "data"
PATTERN = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$"
ANGLES = (-15, 0, 15)
SPACING = 8.0


def configured(volumes_uri, state, key=__file__, **changes):
    digest = snapshot(
        SnapshotConfig(
            volumes_uri=str(volumes_uri),
            patient_pattern=PATTERN,
            state_uri=str(state),
            pseudonym_key_uri=key,  # a secret of sorts, and the same in every state
            minimum_patients=1,
        )
    )
    values = {
        "plane_angles_deg": ANGLES,
        "plane_spacing_mm": SPACING,
        "field_of_view_mm": 80.0,
        "side_px": 64,
    }
    return Config(
        volumes_uri=str(volumes_uri),
        state_uri=str(state),
        snapshot_digest=digest,
        cuts=Cuts(**(values | changes)),
    )


def pseudonym(kind, name):
    return read_pseudonyms(str(Path(__file__)), "").of(kind, name)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=3, size=48)
    return folder


def copied(volumes, folder):
    """Copy the volumes without their table, so that the names say whose they are."""
    for path in volumes.glob("*.nrrd"):
        storage.upload(path, str(folder / path.name))
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
        offsets = Anatomy.of(read_volume(path), Window(field_of_view_mm=80.0, side_px=64)).offsets(SPACING)
        wanted |= {
            (pseudonym("session", path.stem), c, float(a), o)
            for c in ("coronal", "sagittal")
            for a in ANGLES
            for o in offsets
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


def test_no_name_or_date_is_in_anything_that_is_written(volumes, extracted):
    planes, _, _ = extracted
    known = {pseudonym("patient", f"sim{number:02}") for number in (1, 2, 3)}
    assert {row.patient for row in planes.rows} == planes.seen.patients == known
    names = [name for path in volumes.glob("*.nrrd") for name in (path.stem, path.stem[:5])]
    for path in [*planes.folder.iterdir(), *(planes.folder.parent / "state/planes").iterdir()]:
        data = path.read_bytes()
        assert not [name for name in names if name.encode() in data], path.name


def test_pictures_show_the_brain_upright(extracted):
    planes, _, _ = extracted
    middle = [r for r in planes.rows if r.offset_mm == 0 and r.angle_deg == 0 and r.plane == "coronal"]
    for picture in planes.images(middle):
        half = picture[:, :32].astype(float), picture[:, :31:-1].astype(float)
        assert np.corrcoef(half[0].ravel(), half[1].ravel())[0, 1] > 0.6, "left and right mirror each other"


def test_a_second_run_is_byte_identical(volumes, extracted, tmp_path):
    planes, _, _ = extracted
    extract_planes(configured(volumes, tmp_path / "elsewhere"), tmp_path / "again")
    for name in ("images.zip", "planes.csv", "planes.json", "passports.json"):
        assert (tmp_path / "again" / name).read_bytes() == (planes.folder / name).read_bytes()


def test_another_key_changes_names_of_patients_and_nothing_else(volumes, extracted, tmp_path):
    planes, _, _ = extracted
    (tmp_path / "key").write_text("another secret, of enough letters")
    extract_planes(configured(volumes, tmp_path / "state", key=str(tmp_path / "key")), tmp_path / "set")
    other = PlaneSet.open(tmp_path / "set")
    assert (tmp_path / "set/images.zip").read_bytes() == planes.archive.read_bytes()
    assert not other.seen.patients & planes.seen.patients
    unnamed = [replace(row, patient="", session="") for row in other.rows]
    assert unnamed == [replace(row, patient="", session="") for row in planes.rows]


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
        clients.google.cache_clear()
        storage.upload(volumes, "gs://scans/volumes")
        extract_planes(configured("gs://scans/volumes", "gs://scans/state"), tmp_path / "set")
        clients.google()._http.close()
    clients.google.cache_clear()
    assert PlaneSet.open(tmp_path / "set").rows == planes.rows


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_the_result_does_not_depend_on_the_shards(volumes, extracted, tmp_path, shards):
    planes, _, _ = extracted
    config = configured(volumes, tmp_path / "state")
    for shard in range(shards):
        extract_shard(config, shard, shards)
    kept = sorted((tmp_path / "state/planes").iterdir())
    extract_planes(config, tmp_path / "set")
    assert len(kept) == 4
    assert sorted((tmp_path / "state/planes").iterdir()) == kept, "what the shards cut was cut again"
    for name in ("images.zip", "planes.csv", "planes.json", "passports.json"):
        assert (tmp_path / "set" / name).read_bytes() == (planes.folder / name).read_bytes()


def test_a_new_scan_costs_one_volume_and_other_cuts_cost_all(volumes, tmp_path):
    def cut(volumes_uri, **changes):
        reported = []
        config = configured(volumes_uri, tmp_path / "state", **changes)
        extract_planes(config, tmp_path / "set", lambda done, total: reported.append(done))
        return len(reported) - 1, len(PlaneSet.open(tmp_path / "set").rows)

    new = copied(volumes, tmp_path / "volumes") / sorted(volumes.glob("*.nrrd"))[1].name
    scan = new.read_bytes()
    new.unlink()
    first, _ = cut(tmp_path / "volumes")
    new.write_bytes(scan)
    added, total = cut(tmp_path / "volumes")
    assert added == total - first > 0
    assert cut(tmp_path / "volumes") == (0, total)
    assert cut(tmp_path / "volumes", noise_max_content=0.05) == (total, total)


def test_a_damaged_object_is_removed_and_told(volumes, tmp_path):
    config = configured(volumes, tmp_path / "state")
    extract_shard(config, 0, 4)
    (kept,) = (tmp_path / "state/planes").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"\.zip: damaged, and removed; valid: run again"):
        extract_planes(config, tmp_path / "set")
    assert not kept.exists()
    extract_planes(config, tmp_path / "set")


def test_damage_anywhere_in_kept_planes_is_told_or_changes_nothing(volumes, tmp_path):
    config = configured(volumes, tmp_path / "state")
    extract_shard(config, 0, 4)
    (kept,) = (tmp_path / "state/planes").iterdir()
    whole, told = kept.read_bytes(), 0

    def held():
        with open_kept(str(kept)) as opened:
            return opened.passport, list(opened.planes())

    before = held()
    for place in np.linspace(0, len(whole) - 1, 60).astype(int):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        kept.write_bytes(damaged)
        try:
            assert held() == before
        except InputError as error:
            assert "damaged, and removed" in str(error)
            assert not kept.exists()
            told += 1
    assert told > 30


def test_an_error_of_whoever_reads_kept_planes_costs_none(volumes, tmp_path):
    config = configured(volumes, tmp_path / "state")
    extract_shard(config, 0, 4)
    (kept,) = (tmp_path / "state/planes").iterdir()
    with pytest.raises(ValueError, match="theirs"), open_kept(str(kept)) as opened:
        for _ in opened.planes():
            raise ValueError("theirs")
    assert kept.exists()


@pytest.mark.parametrize("patient", ["sim02", "sim09"])
def test_one_scan_with_two_digests_is_used_once_and_of_one_patient(
    volumes, extracted, tmp_path, monkeypatch, patient
):
    """What storage has sent is known by its SHA-256, what another program has sent by its MD5."""
    with s3_bucket(monkeypatch) as (uri, _):
        storage.upload(copied(volumes, tmp_path / "volumes"), f"{uri}/volumes")
        scan = next((tmp_path / "volumes").glob("sim02_*.nrrd")).read_bytes()
        bucket, key = uri.removeprefix("s3://"), f"volumes/{patient}_2025_01_01.nrrd"
        aws(PATIENT).put_object(Bucket=bucket, Key=key, Body=scan)
        config = configured(f"{uri}/volumes", tmp_path / "state")
        if patient == "sim09":
            with pytest.raises(InputError, match=r"^sim09_2025_01_01\.nrrd: the same scan as sim02_"):
                extract_planes(config, tmp_path / "set")
            return
        extract_planes(config, tmp_path / "set")
    images = [row.image for row in PlaneSet.open(tmp_path / "set").rows]
    assert images == [row.image for row in extracted[0].rows]
    assert len(passports.read(tmp_path / "set/passports.json")) == 4


def write_again(scan, path):
    """Write a scan in another encoding."""
    again, header = nrrd.read(str(scan))
    encoding = "raw" if header.pop("encoding") != "raw" else "gzip"
    nrrd.write(str(path), again, header | {"encoding": encoding})


def test_one_scan_in_two_encodings_is_of_one_patient(volumes, tmp_path):
    place = copied(volumes, tmp_path / "volumes")
    scan = next(place.glob("sim02_*.nrrd"))
    write_again(scan, place / "sim09_2025_01_01.nrrd")
    with pytest.raises(InputError, match=r"^sim09_2025_01_01\.nrrd: the same scan as sim02_"):
        extract_planes(configured(place, tmp_path / "state"), tmp_path / "set")


def test_dials_of_the_other_noise_rule_cut_nothing_anew(tmp_path):
    def settings(**changes):
        values = {"plane_angles_deg": [0], "plane_spacing_mm": 1.0, "field_of_view_mm": EXTENT_MM}
        return Cuts(**(values | changes)).settings()

    assert settings(noise_index_planes=7) == settings()
    assert settings(noise_max_content=0.05) != settings()
    by_index = settings(noise_rule="index")
    assert settings(noise_rule="index", noise_max_content=0.05, anatomy_min_content=0.3) == by_index
    assert settings(noise_rule="index", noise_index_planes=7) != by_index != settings()


def test_a_file_that_is_no_volume_is_left_out_with_its_reason(volumes, extracted, tmp_path):
    broken = copied(volumes, tmp_path / "volumes") / "sim09_2024_01_01.nrrd"
    broken.write_bytes(next(volumes.glob("*.nrrd")).read_bytes()[:5000])
    extract_planes(configured(tmp_path / "volumes", tmp_path / "state"), tmp_path / "set")
    assert [row.image for row in PlaneSet.open(tmp_path / "set").rows] == [
        row.image for row in extracted[0].rows
    ]
    found = passports.read(tmp_path / "set/passports.json")
    assert [passport.verdict for passport in found].count("refuse") == 1
    assert found[-1].patient == pseudonym("patient", "sim09")
    assert "bytes" in found[-1].reason
    assert "sim09" not in found[-1].reason


def test_a_link_that_leads_nowhere_is_left_out_with_its_reason(volumes, extracted, tmp_path, capsys):
    link = copied(volumes, tmp_path / "volumes") / "sim09_2024_01_01.nrrd"
    link.symlink_to(tmp_path / "absent.nrrd")
    extract_planes(configured(tmp_path / "volumes", tmp_path / "state"), tmp_path / "set")
    assert len(PlaneSet.open(tmp_path / "set").rows) == len(extracted[0].rows)
    last = passports.read(tmp_path / "set/passports.json")[-1]
    assert (last.verdict, last.patient) == ("refuse", pseudonym("patient", "sim09"))
    assert last.reason == "file: a link that leads nowhere; valid: a file that can be read"
    assert "left out: sim09_2024_01_01.nrrd: file: a link that leads nowhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "data_file", "words"),
    [
        ("48 48 1", "", "leave a sphere"),
        ("8000 2 2", "", "at most 4096 voxels along an axis"),
        ("4 4 4", "Mueller_Anna.raw", "data file: "),
        ("4 4 4", "endless.raw", "data file: "),
    ],
)
def test_what_no_plane_can_be_cut_from_is_left_out(volumes, tmp_path, capsys, sizes, data_file, words):
    """A slab, a needle, data that are not there, and data that never end."""
    folder = copied(volumes, tmp_path / "volumes")
    count = int(np.prod([int(n) for n in sizes.split()]))
    header = f"NRRD0005\ntype: uint8\ndimension: 3\nsizes: {sizes}\nspace: RAS\nencoding: raw\n"
    header += "space directions: (1,0,0) (0,1,0) (0,0,1)\n"
    (folder / "endless.raw").symlink_to("/dev/zero")
    name = "Ruiz.nhdr" if data_file else "Ruiz.nrrd"
    if data_file:
        (folder / name).write_text(f"{header}data file: {data_file}\n\n")
    else:
        (folder / name).write_bytes(header.encode() + b"\n" + bytes(range(200)) * (count // 200 + 1))
        with (folder / name).open("r+b") as file:
            file.truncate(len(header) + 1 + count)
    extract_planes(configured(folder, tmp_path / "state"), tmp_path / "set")
    (refused,) = [
        each for each in passports.read(tmp_path / "set/passports.json") if each.verdict == "refuse"
    ]
    assert words in refused.reason
    assert not {"Mueller", "Ruiz"} & set(re.findall(r"\w+", refused.reason))
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "left out: " in line]
    assert f'"left out: {name}: ' in told
    assert told.count(name) == 1


def test_what_a_store_or_disk_refuses_is_not_kept_against_a_volume(volumes, extracted, tmp_path, monkeypatch):
    """The volume would be left out by every later run too."""
    real = storage.download

    def refused(uri, path, *progress):
        if "sim02" in uri:
            raise InputError(f"{path}: no space left on its disk; valid: one with room for it")
        real(uri, path, *progress)

    with s3_bucket(monkeypatch) as (uri, _):
        storage.upload(copied(volumes, tmp_path / "volumes"), f"{uri}/volumes")
        config = configured(f"{uri}/volumes", tmp_path / "state")
        with monkeypatch.context() as broken:
            broken.setattr(storage, "download", refused)
            with pytest.raises(InputError, match=r"sim02_.*: no space left on its disk"):
                extract_planes(config, tmp_path / "set")
        extract_planes(config, tmp_path / "set")
    assert len(PlaneSet.open(tmp_path / "set").rows) == len(extracted[0].rows)


def test_a_volume_that_is_taken_away_meanwhile_is_no_unusable_one(volumes, tmp_path, monkeypatch):
    folder = copied(volumes, tmp_path / "volumes")
    config = configured(folder, tmp_path / "state")
    last = max(folder.glob("*.nrrd"))
    real = stage.require_there

    def take_away(name, digest):
        last.unlink(missing_ok=True)
        real(name, digest)

    monkeypatch.setattr(stage, "require_there", take_away)
    with pytest.raises(InputError, match=rf"^{last.name}: changed since the snapshot was taken"):
        extract_planes(config, tmp_path / "set")


def test_volumes_that_are_all_unusable_end_the_run(tmp_path):
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes/a.nrrd").write_text("plain text")
    with pytest.raises(InputError, match=r"^volumes_uri=.*: none of 1 volumes is usable"):
        extract_planes(configured(tmp_path / "volumes", tmp_path / "state"), tmp_path / "set")
    assert not (tmp_path / "set/planes.csv").exists()


def test_by_index_the_outermost_planes_are_noise_whatever_they_show(volumes, tmp_path):
    config = configured(volumes, tmp_path / "state", noise_rule="index", noise_index_planes=2)
    extract_planes(config, tmp_path / "set")
    rows = PlaneSet.open(tmp_path / "set").rows
    one = [r for r in rows if (r.volume, r.plane, r.angle_deg) == (rows[0].volume, rows[0].plane, 0.0)]
    labels = [row.label for row in sorted(one, key=lambda row: row.offset_mm)]
    assert labels == ["noise"] * 2 + [rows[0].plane] * (len(labels) - 4) + ["noise"] * 2


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
        ("plane_angles_deg", [-1.0000002, -1.0000001, 0, 1.0000001, 1.0000002]),
        ("plane_angles_deg", [float("nan")]),
        ("plane_angles_deg", [-90, 0, 90]),
        ("plane_angles_deg", [-45, 0, 45]),
        ("plane_angles_deg", [0, 10]),
        ("plane_angles_deg", [-10, 10]),
        ("plane_spacing_mm", 0.0),
        ("plane_spacing_mm", 51.0),
        ("field_of_view_mm", 501.0),
        ("field_of_view_mm", -1.0),
        ("side_px", 0),
        ("channels", 2),
        ("field_of_view", "cube"),
        ("noise_rule", "guess"),
        ("noise_max_content", 0.5),
        ("noise_index_planes", 0),
        ("missing_geometry", "RAI"),
    ],
)
def test_settings_that_cannot_be_are_refused(name, value):
    values = {"plane_angles_deg": [0], "plane_spacing_mm": 1.0, "field_of_view_mm": EXTENT_MM} | {name: value}
    with pytest.raises(InputError, match=f"^{name}="):
        Cuts(**values)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the volumes to try on are not here")
@pytest.mark.parametrize(
    ("place", "least"), [("ultrasound_like", {"coronal", "sagittal"}), ("mri/sb_*.nrrd", {*CLASSES})]
)
def test_real_geometry_gives_its_classes(place, least, tmp_path):
    config = configured(DATA / place, tmp_path / "state", plane_spacing_mm=6.0)
    counts = extract_planes(config, tmp_path / "set")
    assert {label for label in CLASSES if counts[label] >= 5} >= least
