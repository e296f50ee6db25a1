"""Whose a volume is: by the table beside it, else by its name."""

import os
import shutil
import signal
from dataclasses import replace

import pytest

from components.shared import owners
from components.shared.faults import InputError
from components.shared.snapshots import read_snapshot
from components.snapshot_volumes.stage import snapshot
from tests.snapshot_volumes.scans import KEY, config, patients, write

TABLE = "file,patient,session,site\na_2024_01_01.nrrd,a,,\na_2024_02_01.nrrd,z,second,north\n"
TABLE += "b_2024_01_01.nrrd,b,,\nc_2024_01_01.nrrd,c,,\n"


def test_a_table_beside_the_volumes_wins_over_their_names(folder, tmp_path):
    before = snapshot(config(folder, tmp_path))
    (folder / "volumes.csv").write_text(TABLE)
    digest = snapshot(config(folder, tmp_path))
    entries = read_snapshot(str(tmp_path / "state"), digest)
    assert [entry.patient for entry in entries] == patients("a", "z", "b", "c")
    assert (entries[1].session, entries[1].site) == (KEY.of("session", "second"), "north")
    (folder / "volumes.csv").write_text(TABLE + "\n")
    assert len({before, digest, snapshot(config(folder, tmp_path))}) == 3


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (TABLE.replace("b_2024", "b_2042"), r"^volumes\.csv: line 4 \(b_2042_01_01\.nrrd\) names no file"),
        (TABLE.replace("c_2024_01_01.nrrd,c,,\n", ""), r"c_2024_01_01\.nrrd: no row in volumes\.csv"),
        (TABLE.replace("second", "x" * 200_000), r"^volumes\.csv: after line 2: field larger .*; valid: "),
        (TABLE + "x" * owners.MAX_TABLE, r"^volumes\.csv: 16\d+ bytes; valid: at most 16\d+"),
        (TABLE + "z" * 200_000 + ",c", r"^volumes\.csv: after line 5: field larger .*; valid: "),
        (
            TABLE + "\nb_2024_01_01.nrrd,b,,",
            r"^volumes\.csv: line 7 \(b_2.*nrrd\) is of the same file as line 4;",
        ),
        (
            "patient,file\na\n",
            r"^volumes\.csv: line 2 names no file beside it; valid: rows of files that exist$",
        ),
        ("x" * 5000 + "\n" + TABLE, r"^volumes\.csv: its first line names no file and patient; valid: "),
    ],
)
def test_a_slip_in_the_table_never_makes_a_new_patient(folder, tmp_path, table, words):
    (folder / "volumes.csv").write_text(table)
    with pytest.raises(InputError, match=words):
        snapshot(config(folder, tmp_path))


@pytest.mark.parametrize(
    "table",
    [
        TABLE.replace("file,patient,", "patient,file,").replace(",a,", ",Ruiz Ana,"),  # two columns exchanged
        TABLE + '"Ruiz Ana,a_2024_01_01.nrrd',
        TABLE.replace("b_2024_01_01", '"Ruiz Ana\nb_2024_01_01'),
        TABLE + "Ruiz Ana,,\nRuiz Ana,,\n",
        TABLE + "\n\t Ruiz Ana\u2028.nrrd,b,,\n",
    ],
)
def test_a_refused_table_is_told_by_the_line_alone_where_a_name_may_be_in_it(folder, tmp_path, table):
    (folder / "volumes.csv").write_text(table)
    with pytest.raises(InputError, match=r"^volumes\.csv: line \d names no file beside it") as refused:
        snapshot(config(folder, tmp_path))
    assert "Ruiz" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(("encoding", "place"), [("latin-1", 68), ("cp1252", 68), ("utf-16", 0)])
def test_a_table_that_is_no_utf8_is_refused(folder, tmp_path, encoding, place):
    """Read with replacements, two patients of one letter's difference would be one."""
    table = TABLE.replace(",z,", ",Muñoz,").replace(",b,", ",Muüoz,")
    (folder / "volumes.csv").write_text(table, encoding=encoding)
    with pytest.raises(
        InputError, match=rf"^volumes\.csv: no UTF-8 at byte {place}; valid: CSV saved as UTF-8$"
    ):
        snapshot(config(folder, tmp_path))
    (folder / "volumes.csv").write_text(table, encoding="utf-8-sig")
    entries = read_snapshot(str(tmp_path / "state"), snapshot(config(folder, tmp_path)))
    assert [entry.patient for entry in entries] == patients("a", "Muñoz", "Muüoz", "c")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x_y.nrrd", None, r"x_y\.nrrd: .*patient_pattern"),
        ("volumes.csv", b"name,who\n", r"volumes\.csv: its first line names no file and patient"),
        ("volumes.csv", b'file,patient\na_2024_01_01.nrrd,"p, q"\n', r"a_2024_01_01\.nrrd: its patient"),
        (
            "volumes.csv",
            b"file,patient\na_2024_01_01.nrrd,Lopez, Maria\n",
            r"volumes\.csv: line 2 has more cells than columns",
        ),
    ],
)
def test_what_cannot_be_used_is_named(folder, tmp_path, name, content, words):
    if content is None:
        write(folder / name)
    else:
        (folder / name).write_bytes(content)
    pattern = r"^(?P<patient>[a-z]+)(_\d{4}_\d{2}_\d{2})?\.nrrd$"
    with pytest.raises(InputError, match=words):
        snapshot(config(folder, tmp_path, pattern))


@pytest.mark.parametrize("pattern", ["(", "^(.+)$"])
def test_a_pattern_that_names_no_patient_is_refused(folder, tmp_path, pattern):
    with pytest.raises(InputError, match="patient_pattern="):
        snapshot(config(folder, tmp_path, pattern))


@pytest.mark.parametrize("pattern", [r"(?P<patient>[0-9]*)", r"(?P<patient>z?)", r"(?P<patient>[0-9]+)?"])
def test_a_pattern_that_reads_no_patient_from_a_name_is_refused(folder, tmp_path, pattern):
    with pytest.raises(InputError, match=r"a_2024_01_01\.nrrd: its patient; valid: one character or more"):
        snapshot(config(folder, tmp_path, pattern))


def test_a_pattern_that_would_search_for_ever_is_ended(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(owners, "_SEARCH_S", 0.2)
    write(folder / f"{40 * '0'}.nrrd", 7)
    hostile = r"^(?P<patient>([a-z0-9_.]+)+)!$"
    with pytest.raises(InputError, match=r"^patient_pattern=.*: not done with the names in .*; valid: "):
        snapshot(config(folder, tmp_path, hostile))
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    assert snapshot(config(folder, tmp_path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"Jos\xe9_2024_01_01.nrrd", "its name is no UTF-8; valid"),
        (b"d\n_2024_01_01.nrrd", "its name holds a line end"),
        ("José_2024_01_01.nrrd".encode(), "differ in capitals, or in how accents are stored"),
    ],
)
def test_names_that_are_not_one_line_of_text_or_not_one_patients_are_refused(folder, tmp_path, name, words):
    write(folder / "Jose\u0301_2024_02_01.nrrd", level=7)
    shutil.copy(folder / "a_2024_01_01.nrrd", os.fsencode(folder) + b"/" + name)
    pattern = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$"
    with pytest.raises(InputError, match=words) as refused:
        snapshot(config(folder, tmp_path, pattern))
    assert str(refused.value).isprintable()


@pytest.fixture
def respelt(folder, tmp_path):
    """Two folders with the same scans, one patient spelt otherwise in the second."""
    other = shutil.copytree(folder, tmp_path / "other")
    for place, name in ((folder, "Garc\u00eda"), (other, "GARCI\u0301A")):
        (place / "c_2024_01_01.nrrd").rename(place / f"{name}_2024_01_01.nrrd")
    return folder, other


def test_a_patient_whose_files_are_spelt_otherwise_in_another_run_is_the_same(respelt, tmp_path):
    owners = []
    for place in respelt:
        entries = read_snapshot(str(tmp_path / "state"), snapshot(config(place, tmp_path)))
        owners.append({(entry.patient, entry.session) for entry in entries})
    assert owners[0] == owners[1]


def test_a_forgotten_patient_does_not_come_back_under_another_spelling(respelt, tmp_path):
    first, other = respelt
    snapshot(config(first, tmp_path))
    (gone,) = patients("Garc\u00eda")
    snapshot(replace(config(first, tmp_path, minimum=2), forget_patient=gone))
    entries = read_snapshot(str(tmp_path / "state"), snapshot(config(other, tmp_path, minimum=2)))
    assert [entry.patient for entry in entries] == patients("a", "a", "b")
