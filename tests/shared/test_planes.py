"""A set of planes says whose they are, or is none."""

import json

import pytest

from components.shared.faults import InputError
from components.shared.planes import CORONAL, NOISE, UNCERTAIN, PlaneSet, Seen, is_whole
from tests.drawn_planes import write_planes, write_synthetic


def test_real_planes_show_their_rows_and_synthetic_ones_what_their_generator_saw(tmp_path):
    planes = write_planes(tmp_path / "real", ["b", "a"], 2, (CORONAL, NOISE), scans={"a": ""})
    assert planes.seen == Seen(patients=frozenset("ab"), scans=frozenset({"scan of b"}))
    assert planes.seen == Seen.of(planes.rows)
    synthetic = write_synthetic(tmp_path / "drawn", ["a"], [CORONAL], scans=["1f"])
    assert synthetic.seen == Seen(patients=frozenset("a"), scans=frozenset({"1f"}))


def test_the_rows_of_some_patients_are_theirs_alone_and_none_that_is_uncertain(tmp_path):
    planes = write_planes(tmp_path, ["a", "b", "c"], 2, (CORONAL, NOISE, UNCERTAIN, ""))
    found = {(row.patient, row.label) for row in planes.rows_of(["a", "c"])}
    assert found == {(patient, label) for patient in "ac" for label in (CORONAL, NOISE)}


@pytest.mark.parametrize(
    "told",
    ["", "[]", "{", "\xff", {"patients": "abc"}, {"patients": {}}, {"patients": [1]}, {"scans": None},
     {"scans": {}}, {"side": "8"}, {"archive_bytes": 3}],
)  # fmt: skip
def test_a_set_that_does_not_say_whose_it_is_is_not_whole(told, tmp_path):
    folder = write_planes(tmp_path / "set", ["a"], per_class=1).folder
    assert is_whole(folder)
    about = folder / "planes.json"
    text = told if isinstance(told, str) else json.dumps(json.loads(about.read_text()) | told)
    about.write_text(text, encoding="latin-1")
    assert not is_whole(folder)
    with pytest.raises(InputError, match="not a complete PlaneSet"):
        PlaneSet.open(folder)
