"""By the default pattern no date that is written otherwise, and no copy, makes an infant of its own."""

from pathlib import Path

import pytest

from components.shared import owners
from components.shared.faults import InputError
from components.snapshot_volumes.stage import snapshot
from components.validate_parameters.stage import validate
from tests.snapshot_volumes.scans import PATTERN, config, write
from tests.validate_parameters.parameters import given

SHARED = Path(__file__).parents[3] / "shared/data"
OWN = r"^(?P<patient>[^_]+).*\.nrrd$"
DATED = [
    "p07_2013_08_24_2.nrrd",
    "p07_2013_8_31.nrrd",
    "p07_20130907.nrrd",
    "p07-20130907T1015.nrrd",
    "p07_20130907101500.nrrd",
    "p07_2013-09-14.nrrd",
    "p07_08-17-2013.nrrd",
    "p07_08312013.nrrd",
    "p07_14.09.2013.nrrd",
    "p07_2013_09_21.seq.nrrd",
    "p07_2013_09_28 (1).nrrd",
    "2013.10.05 p07.nrrd",
    "p07_2013_10_5_2013_10_12.nrrd",
    "p07_01092013.nrrd",
    "20130907 p07.nrrd",
    "p07_7Sep2013.nrrd",
    "p07_14-sept-2013.nrrd",
    "p07_2013Sep07.nrrd",
    "sub-07_ses-01.nrrd",
    "sub-07_ses-01_T2w.nrrd",
    "sub-07_ses-baseline.nrrd",
    "p07_session1_us.nrrd",
    "p07 Visita 2.nrrd",
]
LONGER = ["a_2.nrrd", "a-left_2024_03_01.nrrd", "A.seq.nrrd", "a (1).nrrd", "a(1).nrrd", "a - 2.nrrd"]


def listed(*names):
    return owners.owners_of(names, owners.compile_pattern(PATTERN), {})


@pytest.mark.parametrize("name", DATED)
def test_a_date_left_in_a_patients_name_is_refused(folder, tmp_path, name):
    write(folder / name, 9)
    words = "a date or a session is left in the patient's name .*; valid: .*volumes.csv.*patient_pattern"
    for ask in (lambda: snapshot(config(folder, tmp_path)), lambda: validate(given(folder))):
        with pytest.raises(InputError, match=words) as refused:
            ask()
        assert str(refused.value).startswith(f"{name}: ")


@pytest.mark.parametrize("name", LONGER)
def test_a_patient_whose_name_begins_with_anothers_is_refused(folder, tmp_path, name):
    write(folder / name, 9)
    words = r"is that of a_2024_01_01\.nrrd and more, .*; valid: .*volumes.csv.*patient_pattern"
    for ask in (lambda: snapshot(config(folder, tmp_path)), lambda: validate(given(folder))):
        with pytest.raises(InputError, match=words) as refused:
            ask()
        assert str(refused.value).startswith(f"{name}: ")


@pytest.mark.parametrize("name", [*DATED, *LONGER])
def test_who_decided_by_a_table_or_a_pattern_of_their_own_is_not_asked(folder, tmp_path, name):
    write(folder / name, 9)
    assert snapshot(config(folder, tmp_path, OWN))
    rows = [f"{path.name},{number}" for number, path in enumerate(sorted(folder.glob("*.nrrd")))]
    (folder / "volumes.csv").write_text("\n".join(["file,patient", *rows]))
    assert snapshot(config(folder, tmp_path))


def test_several_names_with_a_date_are_told_by_the_first_and_their_number():
    with pytest.raises(InputError, match=r"^p07_20130907\.nrrd \(and 1 more\): a date or a session is left"):
        listed("p07_2013_08_17.nrrd", "p07_20130907.nrrd", "p07_20130914.nrrd")


@pytest.mark.parametrize("folder", ["ultrasound_like", "mri", "nrrd_zoo"])
def test_the_names_of_the_shared_volumes_are_as_many_patients_as_ever(folder):
    found = [path.name for path in (SHARED / folder).glob("*") if path.suffix in owners.SUFFIXES]
    if not found:
        pytest.skip("needs ../shared/data")
    patients = {who.patient for who in listed(*found).values()}
    assert len(patients) == (12 if folder == "ultrasound_like" else len({Path(name).stem for name in found}))


def test_numbers_that_are_no_date_and_names_that_only_look_alike_are_patients():
    names = ["p1", "p10", "p1a", "2013", "20131301", "20130832", "2001234", "p_2013_13_01", "mrn120130907"]
    names += [
        "MRN20201231",
        "19121203",
        "A20140101",
        "p07_31132013",
        "session",
        "transcan1",
        "HUPM-2019-1012",
        "us_scan_01",
        "q_1",
        "q_2",
        "p7_left_2013",
    ]
    assert len(listed(*(f"{name}.nrrd" for name in names))) == len(names)
