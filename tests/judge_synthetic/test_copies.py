import csv

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from components.judge_synthetic import copies, stage
from components.judge_synthetic.copies import Reference, are_copies
from components.judge_synthetic.likeness import Nearest, nearest, views_of
from components.judge_synthetic.stage import Config, judge_synthetic
from components.shared.faults import InputError
from components.shared.planes import GAN_CLASSES, PlaneRow, PlaneSet
from components.shared.splits import Splits
from tests.judge_synthetic.conftest import seen_by, write_images

CPU = torch.device("cpu")
FALSE_ALARMS = 0.02  # of planes of patients that were left out; measured on 12 patients: 0.002


def judged(planes, splits, images, out, **settings):
    return judge_synthetic(Config(**settings), planes, splits, images, None, out)


def table(out):
    with (out / "judged/images.csv").open() as file:
        return list(csv.DictReader(file))


def disturbed(image_HW, rng):
    """Return a copy under another grey scale, a shift of up to 2 pixels, slight blur, at times mirrored."""
    grey_HW = gaussian_filter(image_HW.astype(float), rng.uniform(0.2, 0.6))
    grey_HW = np.where(grey_HW > 2, grey_HW * rng.uniform(0.85, 1.1) + rng.uniform(-6, 6), grey_HW)
    moved_HW = np.roll(np.clip(np.rint(grey_HW), 0, 255), rng.integers(-2, 3, 2), (0, 1)).astype(np.uint8)
    return moved_HW[:, ::-1] if rng.uniform() < 0.5 else moved_HW


@pytest.mark.parametrize("side", [32, 128])
@pytest.mark.parametrize("how", ["verbatim", "disturbed"])
def test_ten_in_a_hundred_copies_are_all_found_and_dropped(planes, splits, tmp_path, side, how):
    rng = np.random.default_rng(side)
    strangers = seen_by(planes, splits, "validation", "test")
    trained = seen_by(planes, splits, "train")
    copied = [trained[k] for k in rng.choice(len(trained), len(strangers) // 9, replace=False)]
    if how == "disturbed":
        copied = [disturbed(image_HW, rng) for image_HW in copied]
    pictures = [*strangers, *copied]
    images = write_images(tmp_path / "made", pictures, splits.patients("train"), side)
    found = judged(planes, splits, images, tmp_path / "kept")
    names = [row.image for row in images.rows]
    called = {row["image"] for row in table(tmp_path / "kept") if row["copy"] == "yes"}
    assert set(names[len(strangers) :]) <= called
    assert len(called & set(names[: len(strangers)])) <= FALSE_ALARMS * len(strangers)
    assert found["copies"]["dropped"] == found["copies"]["count"] == len(called)
    kept = PlaneSet.open(tmp_path / "kept")
    assert [row.image for row in kept.rows] == [name for name in names if name not in called]
    before = {row.image: row for row in images.rows}
    assert all(row == before[row.image] for row in kept.rows)
    assert (kept.seen, kept.side, kept.settings) == (images.seen, side, images.settings)
    assert {"images.csv", "worst.png", "judgement.json"} == {
        path.name for path in (kept.folder / "judged").iterdir()
    }


def test_copies_are_told_by_patient(planes, splits, tmp_path):
    victim = splits.patients("train")[1]
    rows = [row for row in planes.rows if row.patient == victim and row.label in GAN_CLASSES][:12]
    strangers = seen_by(planes, splits, "test")
    images = write_images(
        tmp_path / "made", [*planes.images(rows), *strangers], splits.patients("train"), 128
    )
    theirs = judged(planes, splits, images, tmp_path / "kept")["copies"]["by_patient"]
    assert theirs[victim]["copies"] >= 12
    assert set(theirs) == set(splits.patients("train"))
    assert sum(each["nearest"] for each in theirs.values()) == len(images.rows)
    line = table(tmp_path / "kept")[0]
    assert (line["nearest"], line["patient"]) == (rows[0].image, victim)
    assert float(line["likeness"]) > float(line["limit"]) >= float(line["neighbour"])


def test_the_sheet_of_the_worst_pairs_begins_with_the_copies(planes, splits, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(stage, "draw_sheet", lambda _, pairs, captions: drawn.extend(captions))
    pictures = [*seen_by(planes, splits, "test"), *seen_by(planes, splits, "train")[:3]]
    images = write_images(tmp_path / "made", pictures, splits.patients("train"), 128)
    judged(planes, splits, images, tmp_path / "kept", max_copy_rate=1.0)
    assert [caption.endswith(", copy") for caption in drawn[:3]] == [True] * 3
    assert not drawn[-1].endswith(", copy")


def test_up_to_the_rate_that_is_borne_copies_are_kept(planes, splits, tmp_path):
    pictures = [*seen_by(planes, splits, "test"), *seen_by(planes, splits, "train")[:3]]
    images = write_images(tmp_path / "made", pictures, splits.patients("train"), 128)
    found = judged(planes, splits, images, tmp_path / "kept", max_copy_rate=0.5)
    assert found["copies"]["count"] >= 3
    assert found["copies"]["dropped"] == 0
    assert len(PlaneSet.open(tmp_path / "kept").rows) == len(pictures)
    rate = found["copies"]["rate"]
    exact = judged(planes, splits, images, tmp_path / "exact", max_copy_rate=rate)
    assert exact["copies"]["dropped"] == 0


def test_a_copy_is_liker_than_the_next_plane_is_and_than_strangers_are():
    reference = Reference(
        neighbours_M=np.array([0.9, 0.99], np.float32), strangers=0.95, by_patient={}, sessions=None
    )
    likeness_N, index_N = np.array([0.94, 0.96, 0.98, 0.995], np.float32), np.array([0, 0, 1, 1])
    found = Nearest(likeness_N=likeness_N, index_N=index_N)
    assert are_copies(found, reference).tolist() == [False, True, False, True]


def test_of_one_training_patient_the_reader_is_warned(planes, splits, thrice, tmp_path):
    sides = {patient: "train" if patient == thrice else "test" for patient in splits.sides}
    images = write_images(tmp_path / "made", seen_by(planes, splits, "test"), [thrice], 128)
    found = judged(planes, Splits(splits.folds, sides), images, tmp_path / "kept")
    assert (found["training_patients"], found["copies"]["strangers"]) == (1, None)
    assert [caution for caution in found["cautions"] if caution.startswith("one training patient: ")]


def test_nothing_but_copies_is_refused(planes, splits, tmp_path):
    images = write_images(
        tmp_path / "made", seen_by(planes, splits, "train")[:9], splits.patients("train"), 128
    )
    with pytest.raises(InputError, match=r"images=9: every synthetic image copies .* valid: more patients"):
        judged(planes, splits, images, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_planes_of_patients_that_were_left_out_are_seldom_called_copies(planes):
    rows = [row for row in planes.rows if row.label in GAN_CLASSES]
    views_NHW = views_of(planes, rows, CPU)
    called = []
    for patient in sorted(planes.seen.patients):
        out = np.array([row.patient == patient for row in rows])
        reference = copies.reference_of(views_NHW[~out], [r for r, o in zip(rows, out, strict=True) if not o])
        called += copies.are_copies(nearest(views_NHW[out], views_NHW[~out]), reference).tolist()
    assert len(called) == len(rows) > 500
    assert np.mean(called) <= FALSE_ALARMS


def test_a_memorised_patient_is_named_and_no_other(planes, splits, thrice, third, tmp_path):
    pictures = [*third, *seen_by(planes, splits, "validation", "test")]
    images = write_images(tmp_path / "made", pictures, splits.patients("train"), 128)
    found = judged(planes, splits, images, tmp_path / "kept", max_copy_rate=1.0)["memorised"]
    assert found["judged"], found["reason"]
    assert found["patients"] == [thrice]
    assert found["reached"][thrice] > found["sessions"] > max(found["strangers"].values())


def test_strangers_memorise_nobody(planes, splits, tmp_path):
    images = write_images(
        tmp_path / "made", seen_by(planes, splits, "validation", "test"), splits.patients("train"), 128
    )
    found = judged(planes, splits, images, tmp_path / "kept")["memorised"]
    assert (found["judged"], found["patients"]) == (True, [])


def test_without_two_sessions_no_patient_can_be_judged(planes, splits, thrice, tmp_path):
    rows = [row for row in planes.rows if row.patient in splits.patients("train") and row.patient != thrice]
    rows = [row for row in rows if row.label in GAN_CLASSES]
    views_NHW = views_of(planes, rows, CPU)
    found = copies.memorised(rows, np.ones(len(rows), np.float32), copies.reference_of(views_NHW, rows))
    assert (found["judged"], found["patients"]) == (False, [])
    assert found["reason"] == "no training patient has two sessions"


def test_scans_without_a_sessions_name_are_sessions_of_their_own():
    rows = [PlaneRow(image=f"{volume}{k}", patient="a", volume=volume) for volume in "vw" for k in range(2)]
    views_NHW = torch.nn.functional.normalize(torch.eye(4).repeat_interleave(256, 1), dim=1).view(4, 32, 32)
    assert copies.reference_of(views_NHW, rows).sessions is not None
    once = [*rows[:2], *rows[:2]]
    assert copies.reference_of(views_NHW, once).sessions is None


@pytest.mark.parametrize(("strangers", "is_judged"), [(0.89, True), (0.9, False), (0.95, False)])
def test_where_two_patients_are_as_alike_as_two_sessions_nobody_can_be_judged(strangers, is_judged):
    reference = Reference(
        neighbours_M=np.zeros(2, np.float32),
        strangers=0.95,
        by_patient={"a": 0.5, "b": strangers},
        sessions=0.9,
    )
    rows = [PlaneRow(image=name, patient=name) for name in "ab"]
    found = copies.memorised(rows, np.array([0.97, 0.2], np.float32), reference)
    assert (found["judged"], found["patients"]) == (is_judged, ["a"] * is_judged)
    assert is_judged or found["reason"].startswith("two sessions of one patient are no liker")
