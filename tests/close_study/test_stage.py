"""From fabricated cells whose truth is known to the study's answer."""

import csv
import io
import json
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from components.close_study.cells import measurable_patients, read_cells, table_of
from components.close_study.settle import settle
from components.close_study.stage import Config, close_study
from components.shared import storage
from components.shared.calibration import Gauge
from components.shared.comparisons import compare, patients_needed, training_noise
from components.shared.faults import InputError
from components.shared.intervals import mean_interval
from components.shared.planes import CLASSES, CORONAL, SAGITTAL
from components.shared.splits import TEST, Splits
from components.shared.study import ARMS, RESULT, SYNTHETIC_POOL, Grid
from tests.drawn_planes import write_planes

PER_CLASS = 20
CALIBRATION = {"temperature": 1.0} | dict.fromkeys(Gauge.__dataclass_fields__, 0.1)
GRID = Grid(folds=5, fractions=[0.2], seeds=2, gans=2, arms="ABCDE")


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    patients = [f"p{k:02}" for k in range(15)]
    return write_planes(tmp_path_factory.mktemp("planes"), patients, PER_CLASS, (CORONAL, SAGITTAL))


@pytest.fixture(scope="module")
def splits():
    return Splits({f"p{k:02}": k % 5 for k in range(15)}, {})


def write_cell(study, cell, rows, right, taught):
    """Write a cell whose classifier is right on so many coronal planes of each patient, and all sagittal."""
    buffer, seen = io.StringIO(), {}
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", *CLASSES])
    for row in rows:
        seen[row.patient, row.label] = seen.get((row.patient, row.label), 0) + 1
        found = row.label == SAGITTAL or seen[row.patient, row.label] <= right[row.patient]
        says = row.label if found else SAGITTAL
        writer.writerow([row.image, *(0.9 if name == says else 0.05 for name in CLASSES)])
    storage.create(f"{cell.uri(study)}/predictions-0.csv", buffer.getvalue().encode())
    validation = {"mean_patient_loss": 0.1, "balanced_accuracy": 0.9}
    rounds = [{"round": 0, "accepted": {}, "pool": 0, "validation": validation, "stop_reason": "max_rounds"}]
    rounds[0] |= {"taught": 0, "taught_flips": 0}
    result = {
        "labelled": 40,
        "labelled_patients": 2,
        "pseudo": {CORONAL: taught} if ARMS[cell.arm].pool else {},
        "expert_labels": 0,
        "best_round": 0,
        "predictions": "predictions-0.csv",
        "digest": "d",
        "rounds": rounds,
        "test": {"balanced_accuracy": 0.9, "calibration": CALIBRATION},
    }
    storage.create(f"{cell.uri(study)}/{RESULT}", json.dumps(result).encode())


@pytest.fixture
def study(tmp_path, planes, splits):
    """Return a function that writes all cells and closes the study: arm -> coronal planes found, of 20.

    `more` is by arm and seed.
    """

    def close(found, grid=GRID, leave_out=(), taught=3, more=MappingProxyType({})):
        uri = str(tmp_path / "study")
        rng = np.random.default_rng(0)
        apart = {patient: int(rng.integers(-9, 1)) for patient in sorted(splits.folds)}
        for cell in grid.all_cells():
            if cell.name in leave_out:
                storage.create(f"{cell.uri(uri)}/failed.json", b'{"reason": "out of memory"}')
                continue
            put_in = found.get((cell.arm, cell.fraction), found[cell.arm])
            put_in += more.get((cell.arm, cell.seed), 0)
            right = {patient: put_in + apart[patient] for patient in apart}
            write_cell(uri, cell, planes.rows_of(splits.testing(cell.fold).patients(TEST)), right, taught)
        config = Config(study_uri=uri, grid=grid, worthwhile_gain=0.02, seed=0)
        return close_study(config, planes, splits)

    return close


def compared(result, model, other):
    return next(c for c in result["comparisons"] if (c["model"], c["other"]) == (model, other))


def test_differences_are_those_that_were_put_in(study):
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18})
    assert result["patients"] == 15
    assert not result["failed"]
    for model, other, planes_more in (("A", "B", 10), ("E", "C", 6), ("E", "D", 4), ("C", "B", 2)):
        found = compared(result, model, other)["found"]
        assert found["difference"] == pytest.approx(planes_more / PER_CLASS / 2)
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
        assert np.mean(compared(result, model, other)["differences"]) == pytest.approx(found["difference"])
    assert result["verdict"][0].startswith("synthetic data helped: +15.0 pt")
    assert result["verdict"][0].endswith("15 patients: shown")
    assert result["verdict"][1].startswith("synthetic data helped more than the hidden real planes: +10.0 pt")


def test_the_second_test_waits_for_the_first(study):
    result = study({"A": 20, "B": 10, "C": 18, "D": 10, "E": 18})
    assert "changed nothing" in result["verdict"][0]
    assert result["verdict"][1] == "headroom, all labels − labelled only: +25.0 pt [24.4, 25.6], 15 patients"
    roles = {(c["model"], c["other"]): c["role"] for c in result["comparisons"]}
    assert (roles["E", "C"], roles["E", "D"]) == ("tested", "not tested")
    assert compared(result, "E", "D")["found"]["p_value"] is None
    assert compared(result, "E", "C")["found"]["p_value"] is not None


def test_without_headroom_there_is_nothing_to_gain(study):
    result = study({"A": 18, "B": 18, "C": 18, "D": 18, "E": 18})
    assert result["verdict"][0] == "nothing to gain: labelled only already equals all labels"
    assert result["verdict"][1].startswith("headroom, all labels − labelled only: 0.0 pt [")
    assert not [
        c for c in result["comparisons"] if c["role"] == "tested" or c["found"]["p_value"] is not None
    ]


def test_all_labels_that_do_worse_are_not_called_equal(study):
    result = study({"A": 12, "B": 18, "C": 10, "D": 10, "E": 18})
    assert result["verdict"][0] == "nothing to gain: all labels did worse than labelled only"


def test_an_arm_e_that_was_taught_nothing_is_called_arm_c(study):
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 12}, taught=0)
    assert "changed nothing" in result["verdict"][0]
    assert result["verdict"][1] == "no cell of arm E was taught a synthetic image, so it is arm C"


def test_an_arm_e_of_which_one_cell_was_taught_nothing_is_not_called_arm_c(study, tmp_path):
    study(FOUND)
    result = tmp_path / "study/cells/fold0_E_0.2_seed0/result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"pseudo": {CORONAL: 0}}))
    told = study(FOUND)["verdict"]
    assert told[0].endswith("shown") and not any("arm C" in line for line in told)


@pytest.mark.parametrize("gain_at", [0.2, 0.5])
def test_the_first_fractions_headroom_decides_whatever_the_others_is(study, gain_at):
    grid = Grid(folds=5, fractions=[0.2, 0.5], seeds=2, gans=2, arms="ABCDE")
    found = {"A": 20, "B": 20, "C": 12, "D": 14, "E": 18, ("B", gain_at): 10}
    result = study(found, grid)
    first = {(c["model"], c["other"]): c for c in result["comparisons"] if c["fraction"] == 0.2}
    tested = [first["E", "C"], first["E", "D"]]
    if gain_at == 0.2:
        assert [line.rpartition(": ")[2] for line in result["verdict"][:2]] == ["shown", "shown"]
        assert [(c["role"], c["found"]["p_value"] is None) for c in tested] == [("tested", False)] * 2
    else:
        assert result["verdict"][0] == "nothing to gain: labelled only already equals all labels"
        assert [(c["role"], c["found"]["p_value"]) for c in tested] == [("not tested", None)] * 2
    assert all(c["found"]["p_value"] is None for c in result["comparisons"] if c["fraction"] == 0.5)


def test_three_patients_carry_no_claim(study):
    grid = Grid(folds=1, fractions=[0.2], seeds=1, gans=1, arms="ABCDE")
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, grid)
    assert result["verdict"][0] == "n = 3 patients: no claim possible"
    assert result["verdict"][1].endswith(", 3 patients")
    assert compared(result, "E", "C")["found"]["p_value"] is None


def test_a_seed_that_failed_in_one_fold_is_left_out_in_all(study):
    whole = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, leave_out=["fold3_E_0.2_seed1"])
    arm = next(a for a in whole["arms"] if a["letter"] == "E")
    assert (arm["cells"], arm["failed"], len(arm["seeds"])) == (10, 1, 1)
    assert whole["failed"] == [{"cell": "fold3_E_0.2_seed1", "reason": "out of memory"}]
    assert compared(whole, "E", "C")["found"]["patients"] == 15


def test_an_arm_without_a_whole_seed_is_not_compared_and_the_others_are(study):
    lost = [f"fold2_E_0.2_seed{seed}" for seed in range(2)]
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, leave_out=lost)
    assert not [c for c in result["comparisons"] if "E" in (c["model"], c["other"])]
    assert compared(result, "A", "B")["found"]["difference"] == pytest.approx(0.25)
    assert result["verdict"][0] == "E − C not measured: arm E came to no end in every fold"
    with pytest.raises(InputError, match=r"2 of 50 cells failed, fold2_E_0.2_seed0: out of memory"):
        settle(result, "state/run/report")


def test_arms_are_paired_by_the_seeds_that_both_have(study):
    """E lost seed 0 and C seed 1: they share none; the one seed that E and D share shows nothing."""
    lost = ["fold0_E_0.2_seed0", "fold1_C_0.2_seed1"]
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, leave_out=lost)
    assert result["verdict"][0] == (
        "E − C not measured: arms E and C share no seed that came to its end in every fold"
    )
    assert compared(result, "E", "D")["found"]["repeats"] == 1
    arm = next(a for a in result["arms"] if a["letter"] == "E")
    assert (arm["failed"], len(arm["seeds"])) == (1, 1)
    assert arm["naive"] is not None and arm["recall"]["coronal"] is not None


def test_a_difference_is_of_the_seeds_that_both_arms_have(study):
    """E's seed 0, which C lost, is far better than the two that are compared."""
    grid = Grid(folds=5, fractions=[0.2], seeds=3, gans=3, arms="ABCDE")
    found, more = {"A": 20, "B": 10, "C": 10, "D": 10, "E": 13}, {("E", 0): 6, ("C", 0): -4}
    result = study(found, grid, ["fold0_C_0.2_seed0"], more=more)
    told = compared(result, "E", "C")["found"]
    assert (told["repeats"], told["gans"]) == (2, 2)
    assert told["difference"] == pytest.approx(3 / PER_CLASS / 2)


def test_seeds_on_one_gan_show_nothing_and_ask_for_more(study):
    grid = Grid(folds=5, fractions=[0.2], seeds=3, gans=1, arms="ABCDE")
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, grid, more={("E", 2): 1})
    assert "[" in result["verdict"][0]
    assert result["verdict"][0].endswith("not shown, with one GAN a fold: another one might change as much")
    told = compared(result, "E", "C")
    assert (told["found"]["gans"], told["needed"]["patients"]) == (1, None)
    assert compared(result, "C", "B")["needed"]["patients"], "no GAN is behind these"


def test_what_gans_add_is_counted_into_the_patients_that_are_needed(study):
    """Two GANs whose images teach unlike: six seeds on them tell less than six trainings would."""
    grid, found = Grid(folds=5, fractions=[0.2], seeds=6, gans=2, arms="CE"), {"C": 12, "E": 15}
    apart = {("E", seed): (0, 2)[seed % 2] for seed in range(6)}
    told = compared(study(found, grid, more=apart), "E", "C")
    assert (told["found"]["gans"], told["needed"]["patients"]) == (2, None)
    assert of_independent_seeds(told, apart) is not None


def of_independent_seeds(told, apart):
    """Return the patients needed where every seed were a GAN of its own."""
    differences_KP = np.array([[(3 + apart["E", seed]) / PER_CLASS / 2] * 15 for seed in range(6)])
    noise = training_noise(differences_KP, np.array([k % 5 for k in range(15)]), [])
    return patients_needed(np.array(told["differences"]), 0.02, noise).patients


def test_a_seed_lost_leaves_one_which_shows_nothing(study):
    lost = ["fold0_E_0.2_seed0"]
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, leave_out=lost)
    assert result["verdict"][0].endswith("not shown, with one seed: training anew might change as much")


@pytest.mark.parametrize(
    ("arms", "lost", "first"),
    [
        ("BCDE", [], "headroom not measured: arm A not in the study"),
        ("ABCDE", ["fold0_B_0.2_seed0", "fold1_B_0.2_seed1"], "headroom not measured: arm B came to no end"),
        ("ABC", [], "E − C not measured: arm E not in the study"),
    ],
)
def test_the_verdict_says_what_is_missing(study, arms, lost, first):
    grid = Grid(folds=5, fractions=[0.2], seeds=2, gans=2, arms=arms)
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, grid, lost)
    assert result["verdict"][0].startswith(first)


def test_planes_are_counted_once_however_many_seeds(study):
    parts = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18})["errors"]["C"]["class"]
    assert [part["planes"] for part in parts] == [15 * PER_CLASS] * 2


def test_the_naive_interval_is_far_narrower(study):
    arm = next(a for a in study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18})["arms"] if a["letter"] == "C")
    assert arm["naive"][1] - arm["naive"][0] < arm["interval"][1] - arm["interval"][0]


def test_predictions_of_other_planes_are_refused(study, tmp_path):
    study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18})
    table = next((tmp_path / "study/cells").glob("*/predictions-0.csv"))
    table.write_text(table.read_text().replace("p0", "q0"))
    with pytest.raises(InputError, match="predictions of other planes"):
        study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18})


def test_predictions_that_are_no_numbers_are_refused(study, tmp_path):
    study(FOUND)
    table = next((tmp_path / "study/cells").glob("*/predictions-0.csv"))
    table.write_text(table.read_text().replace("0.9", "nan", 1))
    with pytest.raises(InputError, match="a probability is no number"):
        study(FOUND)


def test_errors_are_those_at_the_first_fraction(study):
    grid = Grid(folds=5, fractions=[0.2, 0.5], seeds=1, gans=1, arms="CE")
    result = study({**FOUND, ("C", 0.5): 19, ("E", 0.5): 20}, grid)
    recall = {each["letter"]: each["recall"] for each in result["arms"] if each["fraction"] == 0.2}
    for letter in "CE":
        coronal, sagittal = (part["error"] for part in result["errors"][letter]["class"])
        assert (coronal, sagittal) == pytest.approx((1 - recall[letter][CORONAL], 0))


def test_with_one_seed_the_second_test_is_not_made(study):
    grid = Grid(folds=5, fractions=[0.2], seeds=1, gans=1, arms="ABCDE")
    result = study({"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}, grid)
    assert len(result["verdict"]) == 2 and "headroom" in result["verdict"][1]
    assert "not shown, with one seed" in result["verdict"][0]


FOUND = {"A": 20, "B": 10, "C": 12, "D": 14, "E": 18}


def table_at(tmp_path, arm, planes, splits):
    """Return what close_study makes of an arm's cells."""
    done, _ = read_cells(str(tmp_path / "study"), GRID, planes, splits)
    patients, _ = measurable_patients(planes, splits, GRID)
    return table_of([each for each in done if each.cell.arm == arm], patients)


def test_an_arms_value_and_interval_are_of_all_its_seeds(study):
    result = study(FOUND, more={("C", 1): -6})
    arm = next(each for each in result["arms"] if each["letter"] == "C")
    by_patient = np.array(list(arm["patients"].values()))
    assert arm["seeds"][0] > arm["seeds"][1]
    assert arm["value"] == pytest.approx(np.mean(arm["seeds"]))
    assert arm["value"] == pytest.approx(by_patient.mean())
    assert arm["interval"] == pytest.approx(list(mean_interval(by_patient)))


def test_recall_is_of_all_seeds_and_planes_called_independent_are_those_of_one(study):
    """Sagittal planes are all found, so that the coronal ones' recall follows from the balanced accuracy."""
    result = study(FOUND, more={("C", 1): -6})
    arm = next(each for each in result["arms"] if each["letter"] == "C")
    assert arm["recall"][CORONAL] == pytest.approx(2 * arm["value"] - 1)
    assert np.mean(arm["naive"]) == pytest.approx(arm["seeds"][0])


def test_a_table_knows_the_fold_in_which_each_patient_was_tested(study, planes, splits, tmp_path):
    study(FOUND)
    table = table_at(tmp_path, "C", planes, splits)
    assert table.folds.tolist() == [splits.folds[patient] for patient in table.patients]


def test_gans_stand_behind_every_comparison_with_an_arm_of_images(study):
    grid = Grid(folds=5, fractions=[0.2], seeds=2, gans=2, arms="ABCDEFG")
    result = study({**FOUND, "F": 15, "G": 13}, grid)
    assert len(result["comparisons"]) == 8
    for each in result["comparisons"]:
        of_images = SYNTHETIC_POOL in {ARMS[each["model"]].pool, ARMS[each["other"]].pool}
        assert each["found"]["gans"] == (2 if of_images else None), each["model"] + each["other"]


def test_where_synthetic_images_are_shown_to_hurt_nothing_further_is_tested(study):
    result = study({"A": 20, "B": 10, "C": 18, "D": 10, "E": 12})
    assert result["verdict"][0].startswith("synthetic data hurt: -15.0 pt")
    assert result["verdict"][0].endswith("15 patients: shown")
    assert result["verdict"][1].startswith("headroom")
    assert compared(result, "E", "D")["role"] == "not tested"
    assert compared(result, "E", "D")["found"]["p_value"] is None


def test_a_comparison_is_of_the_arms_tables_by_fold_and_gan(study, planes, splits, tmp_path):
    result = study(FOUND, more={("E", 1): 1, ("C", 0): -2})
    one, two = (table_at(tmp_path, arm, planes, splits) for arm in "EC")
    expected = compare(one.values, two.values, one.folds, 0, [0, 1])
    found = compared(result, "E", "C")["found"]
    assert found["interval"] == pytest.approx(expected.interval)
    assert (found["p_value"], found["other_low"]) == (expected.p_value, expected.other_low)


def test_a_patient_without_both_cuts_is_not_measured(planes, splits):
    poorer = [row for row in planes.rows if (row.patient, row.label) != ("p03", SAGITTAL)]
    whole, lacking = measurable_patients(replace(planes, rows=poorer), splits, GRID)
    assert lacking == ["p03"]
    assert whole == [f"p{k:02}" for k in range(15) if k != 3]
