import os
import re
import traceback

import numpy as np
import pytest

from components.shared.faults import InputError
from components.shared.passports import refused
from components.shared.snapshots import VolumeEntry
from components.shared.volumes import read_volume
from tests.shared.nrrd_files import COUNTING, LITTLE, make, memory


def several(folder, changes=(), count=3):
    """A detached header whose voxels lie in files of one slice each."""
    for number in range(count):
        (folder / f"s{number}.raw").write_bytes(COUNTING[20 * number : 20 * number + 20].tobytes())
    return make(folder / "a.nhdr", {"data file": "s%d.raw 0 2 1"} | dict(changes), b"")


@pytest.mark.parametrize(
    "value",
    [
        "s%d.raw 0 2 1",
        "s%d.raw 0 2 1 2",
        "s%01d.raw +0 +2 +1 3",
        "LIST\ns0.raw\n./s1.raw\ns2.raw",
        "LIST 2\ns0.raw\n s1.raw\ns2.raw ",
        "whole.raw",
    ],
)
def test_detached_data_are_read(value, tmp_path):
    (tmp_path / "whole.raw").write_bytes(COUNTING.tobytes())
    path = several(tmp_path, {"data file": value})
    assert np.array_equal(read_volume(path).data_XYZ.ravel("F"), COUNTING)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "../out.raw",
            "../../../etc/passwd",
            "/etc/passwd",
            "in/../../out.raw",
            "..\\out.raw",
            "C:\\out.raw",
        ),
        *(
            "link.raw",
            "linked/out.raw",
            "s%d.raw 0 2 1 2\x00",
            "nope.raw",
            "",
            ".",
            "pipe",
            "circle",
            "x" * 5000,
        ),
        *("LIST", "LIST\n../out.raw", "LIST\nlink.raw\ns1.raw\ns2.raw", "LIST 9\ns0.raw\ns1.raw\ns2.raw"),
        *("s%d.raw 0 1 1", "s%d.raw 0 2 1 1", "s%d.raw 0 2 0", "s%d.raw 0 999999999 1", "s%d.raw 2 0 1"),
        *("%s.raw 1 2 1", "%999999999d.raw 0 2 1", "s%d%d.raw 0 2 1", "s%d.raw a b c", "LIST x\ns0.raw"),
    ],
)
def test_detached_data_elsewhere_or_of_another_number_are_refused(value, tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out.raw"
    inside.mkdir()
    outside.write_bytes(COUNTING.tobytes())
    (inside / "link.raw").symlink_to(outside)
    (inside / "linked").symlink_to(tmp_path)
    (inside / "circle").symlink_to(inside / "circle")
    os.mkfifo(inside / "pipe")
    with memory() as peak:
        with pytest.raises(InputError, match=r"^a\.nhdr: data file: .*; valid: ") as caught:
            read_volume(several(inside, {"data file": value}))
        assert peak() < LITTLE
    assert "etc" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_link_to_a_volume_within_its_folder_is_read(tmp_path):
    (tmp_path / "s.raw").write_bytes(COUNTING.tobytes())
    (tmp_path / "link.raw").symlink_to("s.raw")
    path = make(tmp_path / "a.nhdr", {"data file": "link.raw"}, b"")
    assert np.array_equal(read_volume(path).data_XYZ.ravel("F"), COUNTING)


def test_a_refusal_quotes_no_data(tmp_path):
    (tmp_path / "a.ascii").write_text("file,patient\nPerez.nrrd,Perez\n" * 20)
    with pytest.raises(InputError, match="broken ascii") as caught:
        read_volume(make(tmp_path / "a.nhdr", {"data file": "a.ascii", "encoding": "ascii"}, b""))
    assert "Perez" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["volumes.csv", "other.nrrd", "pseudonym.key", "table", "linked.raw"])
def test_what_is_no_file_of_voxels_is_not_read_as_such(name, tmp_path):
    """The table of patients, say, or another patient's volume: also by a link with another name."""
    for other in ("volumes.csv", "other.nrrd", "pseudonym.key", "table"):
        (tmp_path / other).write_bytes(COUNTING.tobytes())
    (tmp_path / "linked.raw").symlink_to("volumes.csv")
    path = make(tmp_path / "a.nhdr", {"data file": name}, b"")
    with pytest.raises(
        InputError, match=r"data file: .* \(no ending of voxels\); valid: a file that ends in"
    ):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Garcia;Lopez_1234567.txt", "(name).txt (no ending of voxels)"),
        ("Garcia;Lopez_1234567.raw", "(name).raw (not there, or not readable)"),
        ("Garcia.Lopez", "(name) (no ending of voxels)"),
        ("Garcia.1234567", "(name) (not there, or not readable)"),
        ("../Lopez/Garcia;Lopez_1234567.RAW", "(name).raw (elsewhere)"),
        ("link_of_Garcia.raw", "(name).raw (a link that leads elsewhere)"),
        ("link_of_Lopez.raw", "(name).csv (no ending of voxels)"),
        ("LIST\nGarcia;Lopez_1234567.txt", "(name).txt (no ending of voxels)"),
        ("Garcia;%d.Lopez 1 3 1", "(name) (no ending of voxels)"),
    ],
)
def test_a_refusal_shows_of_a_data_file_its_ending_alone(name, told, tmp_path):
    (tmp_path / "elsewhere.raw").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/Garcia.csv").touch()
    (tmp_path / "in/link_of_Garcia.raw").symlink_to(tmp_path / "elsewhere.raw")
    (tmp_path / "in/link_of_Lopez.raw").symlink_to("Garcia.csv")
    path = make(tmp_path / "in/a.nhdr", {"data file": name}, b"")
    with pytest.raises(InputError) as caught:
        read_volume(path)
    entry = VolumeEntry(name=path.name, size=1, digest="a", patient="p", session="s", site="")
    for text in (str(caught.value).removeprefix("a.nhdr: "), refused(entry, str(caught.value)).reason):
        assert text.startswith(f"data file: {told}; valid: ")
        assert not re.search("Garcia|Lopez|1234567", text, re.IGNORECASE)


@pytest.mark.parametrize("name", ["a.RAW", "slice.001", "a.b.img"])
def test_the_endings_of_voxels_are_read(name, tmp_path):
    (tmp_path / name).write_bytes(COUNTING.tobytes())
    path = make(tmp_path / "a.nhdr", {"data file": name}, b"")
    assert np.array_equal(read_volume(path).data_XYZ.ravel("F"), COUNTING)
