import numpy as np
import pytest

from components.shared.breakdowns import error_by_angle, error_by_class, error_by_offset, error_by_site
from components.shared.metrics import confusion, recall
from components.shared.planes import CLASSES, PlaneRow


def row(patient, label="coronal", angle=0.0, offset=0.0, site=""):
    return PlaneRow(image="x", label=label, patient=patient, angle_deg=angle, offset_mm=offset, site=site)


def test_a_long_scan_counts_once():
    rows = [row("long")] * 98 + [row("short")] * 2
    (part,) = error_by_class(rows, np.array([0] * 98 + [1, 1]))
    assert (part.group, part.planes, part.patients, part.error) == ("coronal", 100, 2, 0.5)
    assert part.interval is None  # of two patients


def test_of_one_patient_the_error_by_class_is_what_recall_leaves():
    rng = np.random.default_rng(0)
    truth_N, predicted_N = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    parts = error_by_class([row("a", CLASSES[place]) for place in truth_N], predicted_N)
    expected = recall(confusion(truth_N, predicted_N))
    assert [part.group for part in parts] == list(CLASSES)
    assert [1 - part.error for part in parts] == pytest.approx(list(expected.values()))


def test_errors_at_the_ends_are_found_there():
    offsets = np.arange(-40, 41, 2.0)
    rows = [row(patient, offset=offset) for patient in "abcd" for offset in offsets]
    wrong_N = np.tile(np.abs(offsets) > 35, 4)
    parts = {part.group: part for part in error_by_offset(rows, wrong_N.astype(np.int64))}
    assert list(parts) == [-40, -30, -20, -10, 0, 10, 20, 30, 40]
    assert parts[-40].error == parts[40].error == 1
    assert all(parts[middle].error == 0 for middle in (-30, -20, -10, 0, 10, 20, 30))
    assert parts[0].interval[0] == 0 < parts[0].interval[1]
    assert sum(part.planes for part in parts.values()) == len(rows)


def test_bins_beside_the_middle_are_alike():
    (part,) = error_by_offset([row("a", offset=-0.5), row("a", offset=0.5), row("a")], np.zeros(3, np.int64))
    assert part.group == 0 and str(part.group) == "0.0"


def test_angles_and_sites_come_in_order():
    rows = [row("a", angle=5, site="north"), row("b", angle=-5, site="east"), row("c", angle=5, site="east")]
    predicted_N = np.array([0, 1, 1])
    assert [(p.group, p.error) for p in error_by_angle(rows, predicted_N)] == [(-5, 1.0), (5, 0.5)]
    assert [(p.group, p.error) for p in error_by_site(rows, predicted_N)] == [("east", 1.0), ("north", 0.0)]
