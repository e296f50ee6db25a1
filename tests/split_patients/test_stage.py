from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.planes import UNCERTAIN, PlaneRow, PlaneSet, PlaneSetWriter
from components.shared.splits import FOLDS, SPLITS, Splits
from components.split_patients.stage import Config, Holding, assign, split_patients


def split(state, out, patients, uncertain=()):
    """Split the patients of a PlaneSet with two planes of each, in the order of their names here."""
    with PlaneSetWriter(folder=out / "planes", side=8) as writer:
        for patient in [*patients, *uncertain]:
            label = UNCERTAIN if patient in uncertain else "coronal"
            for number in range(2):
                row = PlaneRow(image=f"{label}/{patient}{number}.png", label=label, patient=patient)
                writer.add(np.zeros((8, 8), np.uint8), row)
    return split_patients(Config(state_uri=str(state)), PlaneSet.open(out / "planes"), out / "splits.csv")


def names(first, last):
    return [f"p{number:02}" for number in range(first, last)]


def test_everyone_with_a_plane_of_a_class_has_one_side(tmp_path):
    splits = split(tmp_path / "state", tmp_path / "out", names(0, 12), uncertain=["z"])
    assert sorted(splits.sides) == names(0, 12)
    assert {side: len(splits.patients(side)) for side in SPLITS} == {"train": 6, "validation": 3, "test": 3}
    assert Splits.read(tmp_path / "out" / "splits.csv") == splits


def test_known_patients_keep_their_side_when_others_join_or_leave(tmp_path):
    first = split(tmp_path, tmp_path / "a", names(5, 10))
    more = split(tmp_path, tmp_path / "b", names(0, 20))
    assert {p: more.folds[p] for p in first.folds} == dict(first.folds)
    fewer = split(tmp_path, tmp_path / "c", names(2, 17))
    assert fewer.folds == {p: more.folds[p] for p in names(2, 17)}
    assert len(list((tmp_path / "splits").iterdir())) == 2, "a version is written only when somebody joins"


def test_sides_do_not_depend_on_names(tmp_path):
    here = split(tmp_path / "here", tmp_path / "a", names(0, 9))
    there = split(tmp_path / "there", tmp_path / "b", [f"x{name}" for name in names(0, 9)])
    assert {f"x{name}": side for name, side in here.sides.items()} == dict(there.sides)


def test_sides_do_not_depend_on_how_names_sort(tmp_path):
    here = split(tmp_path / "here", tmp_path / "a", names(0, 9))
    there = split(tmp_path / "there", tmp_path / "b", names(0, 9)[::-1])
    assert [here.sides[name] for name in names(0, 9)] == [there.sides[name] for name in names(0, 9)[::-1]]


def test_three_patients_are_one_of_each_side(tmp_path):
    splits = split(tmp_path, tmp_path / "out", ["a", "b", "c"])
    assert sorted(splits.sides.values()) == sorted(SPLITS)


def test_planes_without_a_test_patient_are_refused(tmp_path):
    splits = split(tmp_path, tmp_path / "a", names(0, 10))
    others = [patient for patient, side in splits.sides.items() if side != "test"]
    with pytest.raises(InputError, match="is in test"):
        split(tmp_path, tmp_path / "b", others)


def test_runs_at_the_same_time_agree(tmp_path):
    split(tmp_path, tmp_path / "first", names(0, 5))  # so that every run has somebody on each side

    def run(number):
        newcomers = names(5 + number, 9 + number)
        return split(tmp_path, tmp_path / f"out{number}", [*names(0, 5), *newcomers])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(8)))
    last = split(tmp_path, tmp_path / "last", names(0, 16))
    for splits in found:
        assert splits.folds == {patient: last.folds[patient] for patient in splits.folds}


def of_sites(sites, planes=(9, 9, 9)):
    return {f"p{k:03}": Holding(site=site, planes=planes) for k, site in enumerate(sites)}


names_of_patients = st.lists(st.text(min_size=1), max_size=30)


@given(names_of_patients, names_of_patients)
def test_folds_are_balanced_and_never_change(before, after):
    known = assign({}, dict.fromkeys(before, Holding()))
    folds = assign(known, dict.fromkeys(after, Holding()))
    assert {p: folds[p] for p in known} == known
    assert set(folds) == {*before, *after}
    sizes = [list(folds.values()).count(fold) for fold in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.sampled_from("abc"), max_size=20))
def test_every_sites_patients_are_dealt_evenly_over_the_folds(before, after):
    patients = of_sites([*before, *after])
    known = assign({}, of_sites(before))
    folds = assign(known, patients)
    assert {name: folds[name] for name in known} == known
    for site in {*before, *after}:
        own = [folds[name] for name, holding in patients.items() if holding.site == site]
        sizes = [own.count(fold) for fold in range(FOLDS)]
        assert max(sizes) - min(sizes) <= 1
    first = [list(known.values()).count(fold) for fold in range(FOLDS)]
    assert max(first) - min(first) <= 1, "and all of them together, where nobody was known"


def spread_of(folds, patients):
    """Return how unevenly the classes lie in the folds: the largest fold's share above a fifth."""
    planes_FC = np.zeros((FOLDS, 3))
    for name, fold in folds.items():
        planes_FC[fold] += patients[name].planes
    return (planes_FC / planes_FC.sum(axis=0)).max() - 1 / FOLDS


def test_classes_are_spread_as_evenly_as_patients_allow():
    noisy = {f"p{k:03}": Holding(planes=(50, 50, 40 if k < 5 else 0)) for k in range(20)}
    folds = assign({}, noisy)
    assert sorted(folds[f"p{k:03}"] for k in range(5)) == list(range(FOLDS)), "a noisy one in every fold"
    rng = np.random.default_rng(0)
    uneven = {f"p{k:03}": Holding(planes=tuple(rng.integers(1, 200, 3))) for k in range(30)}
    by_order = {name: k % FOLDS for k, name in enumerate(uneven)}
    assert spread_of(assign({}, uneven), uneven) < spread_of(by_order, uneven) / 2


@pytest.mark.parametrize("fold", range(FOLDS))
def test_those_who_are_known_count_where_they_are(fold):
    known = {f"p{k:03}": k % FOLDS for k in range(5)}
    heavy = {f"p{k:03}": Holding(planes=(100 if k == fold else 10,) * 3) for k in range(5)}
    new = {f"p{k:03}": Holding(planes=(100 if k != 7 else 10,) * 3) for k in range(5, 10)}
    folds = assign(known, {**heavy, **new})
    assert folds["p007"] == fold, "the smallest joins the largest"


def test_a_known_patient_without_planes_may_be_of_any_site():
    known = {"s0": 0, "s1": 1, "gone": 2, "o3": 3, "p3": 3, "o4": 4, "p4": 4}
    here = {name: Holding(site=name[0], planes=(9, 9, 9)) for name in known if name != "gone"}
    folds = assign(known, {**here, "s2": Holding(site="s", planes=(9, 9, 9))})
    assert folds["s2"] == 3, "not where the one who is gone may be of its site"


def test_two_sessions_of_a_patient_are_one_patient(tmp_path):
    rows = [
        PlaneRow(
            image=f"coronal/{k}.png", label="coronal", patient=f"p{k // 2}", session=f"s{k}", volume=f"v{k}"
        )
        for k in range(20)
    ]
    with PlaneSetWriter(folder=tmp_path / "planes", side=8) as writer:
        for k, row in enumerate(rows):
            writer.add(np.full((8, 8), k, np.uint8), row)
    planes = PlaneSet.open(tmp_path / "planes")
    splits = split_patients(Config(state_uri=str(tmp_path / "state")), planes, tmp_path / "splits.csv")
    sides = {side: {row.session for row in planes.rows_of(splits.patients(side))} for side in SPLITS}
    for patient in range(10):
        assert sum({f"s{2 * patient}", f"s{2 * patient + 1}"} <= sessions for sessions in sides.values()) == 1


def test_a_scan_under_two_patients_is_refused(tmp_path):
    with PlaneSetWriter(folder=tmp_path / "planes", side=8) as writer:
        for k in range(10):
            row = PlaneRow(image=f"coronal/{k}.png", label="coronal", patient=f"p{k}", volume=f"v{k % 9}")
            writer.add(np.full((8, 8), k, np.uint8), row)
    planes = PlaneSet.open(tmp_path / "planes")
    with pytest.raises(InputError, match=r"volume v0 of patients p0 \(\w+\), p9 \(\w+\), by splits.csv"):
        split_patients(Config(state_uri=str(tmp_path / "state")), planes, tmp_path / "splits.csv")


@pytest.mark.parametrize(
    "left", [b"", b"patient,fold,split\na,0,te", b"\xff", b"patient,fold,split\na,9,test"]
)
def test_damaged_sides_are_named(tmp_path, left):
    split(tmp_path, tmp_path / "a", names(0, 5))
    (tmp_path / "splits/0001.csv").write_bytes(left)
    with pytest.raises(
        InputError, match=r"/splits/0001\.csv: damaged, .*; valid: a copy of what it was, or a new state_uri$"
    ):
        split(tmp_path, tmp_path / "b", names(0, 6))


@pytest.mark.parametrize("gone", [1, 2])
def test_a_version_that_is_missing_gives_nobody_another_side(tmp_path, gone):
    for count in (5, 9, 14):
        split(tmp_path, tmp_path / f"{count}", names(0, count))
    lost = tmp_path / f"splits/{gone:04}.csv"
    kept, left = lost.read_bytes(), sorted(tmp_path.glob("splits/*"))
    lost.unlink()
    with pytest.raises(
        InputError,
        match=rf"/splits/000{gone}\.csv: missing, and yet later versions.*; valid: a copy of what it was, or",
    ):
        split(tmp_path, tmp_path / "b", names(0, 16))
    lost.write_bytes(kept)
    split(tmp_path, tmp_path / "c", names(0, 14))
    assert sorted(tmp_path.glob("splits/*")) == left
