import bz2
import errno
import gzip

import numpy as np
import pytest

from components.shared.faults import InputError
from components.shared.volumes import MAX_HEADER, Volume, data_files, read_head, read_volume, write_volume
from tests.shared.nrrd_files import COUNTING, DIRECTIONS, LPS, make

LIST_FIRST = {"dimension": 4, "sizes": "2 5 4 3", "space directions": f"none {DIRECTIONS}"}
LIST_LAST = {"dimension": 4, "sizes": "5 4 3 2", "space directions": f"{DIRECTIONS} none"}
TIME = {
    "dimension": 4,
    "sizes": "5 4 3 1",
    "space": "LPST",
    "space directions": "(0.5,0,0,0) (0,0.6,0,0) (0,0,0.7,0) (0,0,0,1)",
    "space origin": "(1,2,3,0)",
}
READABLE = {
    "raw": ({}, None),
    "gzip": ({"encoding": "gz"}, gzip.compress(COUNTING.tobytes())),
    "two gzip members": (
        {"encoding": "gzip"},
        gzip.compress(COUNTING[:7].tobytes()) + gzip.compress(COUNTING[7:].tobytes()),
    ),
    "bzip2": ({"encoding": "bzip2"}, bz2.compress(COUNTING.tobytes())),
    "ascii": ({"encoding": "text"}, " ".join(map(str, COUNTING)).encode()),
    "ascii with commas": ({"encoding": "ASCII"}, ",\n".join(map(str, COUNTING)).encode() + b"\n"),
    "hex": ({"encoding": "hex"}, COUNTING.tobytes().hex(" ").upper().encode()),
    "big endian": ({"type": "short", "endian": "big"}, COUNTING.astype(">i2").tobytes()),
    "float": ({"type": "float", "endian": "little"}, COUNTING.astype("<f4").tobytes()),
    "long": ({"type": "signed long long int", "endian": "big"}, COUNTING.astype(">i8").tobytes()),
    "byte skip": ({"byte skip": 7}, bytes(7) + COUNTING.tobytes()),
    "byte skip within gzip": (
        {"byteskip": 7, "encoding": "gzip"},
        gzip.compress(bytes(7) + COUNTING.tobytes()),
    ),
    "from the end": ({"byte skip": -1}, bytes(7) + COUNTING.tobytes()),
    "line skip": ({"line skip": 2}, b"a\nb\n" + COUNTING.tobytes()),
    "lines, then bytes": ({"lineskip": 1, "byte skip": 3}, b"a\nxyz" + COUNTING.tobytes()),
    "abbreviation": ({"space": "LPS"}, None),
    "signs and blanks": (
        {
            "sizes": "  +5\t+4 +3 ",
            "space directions": "( 0.5, 0 ,-0 )(+0,+0.6,0) ( 0,0, +7e-1)",
            "space origin": "( +1, 2 ,3)",
        },
        None,
    ),
    "names in capitals": (
        {"sizes": None, "SIZES ": "5 4 3", "encoding": None, "Encoding": "RAW", "type": "UInt8"},
        None,
    ),
    "said twice": ({"Space": "left-posterior-superior"}, None),
    "what says nothing of scalars": (
        {"centerings": "cell node ???", "measurement frame": "(1,0,0) (0,1,0)", "labels": '"x" "y" "'},
        None,
    ),
    "units": ({"space units": '"mm" "mm" "mm"', "units": '"mm" "" "mm"'}, None),
    "component first": (LIST_FIRST, np.repeat(COUNTING, 2).tobytes()),
    "component last": (LIST_LAST, COUNTING.tobytes() * 2),
    "list by its kind": (
        LIST_LAST | {"kinds": "domain domain domain list", "space directions": f"{DIRECTIONS} (0,0,1)"},
        COUNTING.tobytes() * 2,
    ),
    "time": (TIME, None),
}


@pytest.mark.parametrize("name", READABLE)
def test_every_kind_of_file_gives_the_same_voxels_and_geometry(name, tmp_path):
    volume = read_volume(make(tmp_path / "a.nrrd", *READABLE[name]))
    assert volume.data_XYZ.shape == (5, 4, 3)
    assert volume.data_XYZ.dtype.isnative
    assert np.array_equal(volume.data_XYZ.ravel(order="F"), COUNTING)
    assert np.allclose(volume.affine[:3], LPS, atol=1e-5)
    assert volume.orientation == "header"


def test_lines_may_end_as_on_windows(tmp_path):
    assert np.array_equal(read_volume(make(tmp_path / "a.nrrd", end="\r\n")).data_XYZ.ravel("F"), COUNTING)


@pytest.mark.parametrize(
    ("space", "signs"),
    [("right-anterior-superior", (1, 1, 1)), ("RAS", (1, 1, 1)), ("LAS", (-1, 1, 1)), ("lps", (-1, -1, 1))],
)
def test_spaces_become_right_anterior_superior(space, signs, tmp_path):
    affine = read_volume(make(tmp_path / "a.nrrd", {"space": space})).affine
    assert np.allclose(np.diag(affine[:3, :3]), np.multiply(signs, (0.5, 0.6, 0.7)))
    assert np.allclose(affine[:3, 3], np.multiply(signs, (1, 2, 3)))


def test_directions_are_columns_of_the_affine(tmp_path):
    path = make(tmp_path / "a.nrrd", {"space": "RAS", "space directions": "(0,0.5,0) (0.1,0,0.6) (0.7,0,0)"})
    assert np.allclose(read_volume(path).affine[:3, :3], [[0, 0.1, 0.7], [0.5, 0, 0], [0, 0.6, 0]])


@pytest.mark.parametrize("kind", ["float", "double"])
def test_what_is_not_finite_takes_the_minimum(kind, tmp_path):
    values = COUNTING.astype("<f4" if kind == "float" else "<f8") + 1
    values[[3, 7]] = np.nan, np.inf
    values[9] = -1e38 if kind == "float" else -1e300  # would be infinite where planes are computed
    lost = {3, 7, 9}
    volume = read_volume(make(tmp_path / "a.nrrd", {"type": kind, "endian": "little"}, values.tobytes()))
    assert volume.replaced == len(lost)
    assert [f"{len(lost)} voxels" in note for note in volume.notes] == [True]
    assert set(np.flatnonzero(volume.data_XYZ.ravel("F") == 1)) == lost | {0}


def colours(kind, axis, number):
    """Fields and voxels of a small colour volume whose colours lie on one of four axes."""
    sizes, directions = [5, 4, 3], DIRECTIONS.split()
    sizes.insert(axis, number)
    directions.insert(axis, "none")
    kinds = ["domain"] * 3
    kinds.insert(axis, kind)
    fields = {
        "dimension": 4,
        "sizes": " ".join(map(str, sizes)),
        "space directions": " ".join(directions),
        "kinds": " ".join(kinds),
    }
    return fields, np.random.default_rng(axis).integers(0, 256, sizes, np.uint8)


@pytest.mark.parametrize(("kind", "number"), [("RGB-color", 3), ("RGBA-color", 4), ("3-color", 3)])
@pytest.mark.parametrize("axis", range(4))
def test_colours_give_luminance(kind, number, axis, tmp_path):
    fields, stored = colours(kind, axis, number)
    volume = read_volume(make(tmp_path / "a.nrrd", fields, stored.tobytes(order="F")))
    red, green, blue = np.moveaxis(stored, axis, 0)[:3]
    assert volume.data_XYZ.dtype == np.uint8
    assert np.array_equal(volume.data_XYZ, np.rint(0.299 * red + 0.587 * green + 0.114 * blue))
    assert any("luminance" in note for note in volume.notes)


NOTES = {
    "component": (*READABLE["component first"], "component 0 of 2"),
    "more bytes": ({}, COUNTING.tobytes() + b"\0" * 12, "12 bytes after the data"),
    "more in gzip": ({"encoding": "gzip"}, gzip.compress(COUNTING.tobytes() + bytes(9)), "9 bytes after"),
    "after gzip": ({"encoding": "gzip"}, gzip.compress(COUNTING.tobytes()) + bytes(512), "512 bytes after"),
    "after bzip2": ({"encoding": "bzip2"}, bz2.compress(COUNTING.tobytes()) + b"xy", "2 bytes after"),
    "two spacings": ({"spacings": "1 1 1"}, None, "spacings 1 1 1 contradict space directions"),
    "twice": (*READABLE["said twice"], "space is given twice"),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_a_reader_should_know_is_noted(name, tmp_path):
    *file, words = NOTES[name]
    volume = read_volume(make(tmp_path / "a.nrrd", *file))
    assert np.array_equal(volume.data_XYZ.ravel("F"), COUNTING)
    assert [words in note for note in volume.notes] == [True]


def test_an_ordinary_file_needs_no_note(tmp_path):
    assert read_volume(make(tmp_path / "a.nrrd")).notes == ()


FLOAT = {"type": "float", "endian": "little"}
REFUSED = {
    "no directions": ({"space directions": None}, None, "space directions: absent"),
    "unknown space": ({"space": "left-right"}, None, "space: left-right"),
    "no word of the format": ({"space": "Perez"}, None, "space: .not shown, no word of NRRD."),
    "zero spacing": ({"space directions": "(0,0,0) (0,0.6,0) (0,0,0.7)"}, None, "space directions: spacing"),
    "nan spacing": ({"space directions": "(nan,0,0) (0,0.6,0) (0,0,0.7)"}, None, "space directions: spacing"),
    "endless": ({"space directions": "(1e308,1e308,0) (0,0.6,0) (0,0,0.7)"}, None, "spacing inf"),
    "metres by value": ({"space directions": "(5e-4,0,0) (0,6e-4,0) (0,0,7e-4)"}, None, "spacing 0.0005"),
    "flat": ({"space directions": "(1,0,0) (1,0,0) (0,0,0.7)"}, None, "that span a volume"),
    "four numbers": ({"space directions": "(1,0,0,0) (0,1,0,0) (0,0,1,0)"}, None, "vectors of 4 numbers"),
    "time and space": (TIME | {"space directions": "(1,0,0,2) (0,1,0,0) (0,0,1,0) (0,0,0,1)"}, None, "time"),
    "origin nowhere": ({"space origin": "(nan,0,0)"}, None, "space origin: .*nan"),
    "metres": ({"space units": '"m" "m" "m"'}, None, "space units: m m m"),
    "metres an axis": ({"units": '"mm" "cm" "mm"'}, None, "units: mm cm mm"),
    "two dimensions": ({"dimension": 2, "sizes": "5 4"}, None, "sizes: 5 4 .dimension 2"),
    "another dimension": ({"dimension": 4}, None, "sizes: 5 4 3 .dimension 4"),
    "no dimension": ({"dimension": None}, None, "dimension absent"),
    "huge": ({"sizes": "100000 100000 100"}, None, "at most 536870912 voxels"),
    "negative": ({"sizes": "-5 -4 3"}, None, "sizes: -5 -4 3"),
    "sizes with a fraction": ({"sizes": "5.5 4 3"}, None, "sizes: 5.5 4 3; valid: whole numbers"),
    "two values": ({"Space": "RAS"}, None, "space: Duplicate"),
    "no field": ({"sizes": "5 4 3\nhello"}, None, "header: line 5 is no field"),
    "newer format": ({}, None, "first bytes"),
    "truncated": ({}, bytes(59), "data: 59 bytes of raw"),
    "a slice too many": ({}, bytes(80), "data: at least 80 bytes"),
    "a slice too many in gzip": ({"encoding": "gzip"}, gzip.compress(bytes(80)), "data: at least 80 bytes"),
    "truncated gzip": ({"encoding": "gzip"}, gzip.compress(COUNTING.tobytes())[:-12], "data: truncated gzip"),
    "gzip without its end": ({"encoding": "gzip"}, gzip.compress(COUNTING.tobytes())[:-4], "truncated gzip"),
    "altered gzip": (
        {"encoding": "gzip"},
        gzip.compress(COUNTING.tobytes())[:-8] + bytes(8),
        "broken gzip",
    ),
    "too little in gzip": ({"encoding": "gzip"}, gzip.compress(bytes(50)), "data: truncated, 50 of 60"),
    "truncated bzip2": ({"encoding": "bz2"}, bz2.compress(COUNTING.tobytes())[:-9], "data: truncated bzip2"),
    "not gzip": ({"encoding": "gzip"}, bytes(60), "broken gzip"),
    "not bzip2": ({"encoding": "bzip2"}, bytes(60), "broken bzip2"),
    "not numbers": ({"encoding": "ascii"}, b"one two " * 30, "broken ascii"),
    "one long number": ({"encoding": "ascii"}, b"1" * 400, "broken ascii"),
    "numbers too large": ({"encoding": "ascii"}, b"300 " * 60, "broken ascii"),
    "fractions of a whole": ({"encoding": "ascii"}, b"1.5 " * 60, "broken ascii"),
    "not a number of a whole": ({"encoding": "ascii"}, b"nan " * 60, "broken ascii"),
    "half a byte": ({"encoding": "hex"}, b"00" * 60 + b"0", "broken hex"),
    "no endian": ({"type": "short"}, None, "endian: absent"),
    "block": ({"type": "block"}, None, "type: block"),
    "odd encoding": ({"encoding": "zrl"}, None, "encoding: zrl"),
    "from the end of gzip": ({"encoding": "gzip", "byte skip": -1}, None, "byte skip: -1"),
    "endless skip": ({"byte skip": 10**12}, None, "byte skip: 1000000000000"),
    "endless lines": ({"line skip": 10**12}, None, "line skip: 1000000000000"),
    "complex": (LIST_FIRST | {"kinds": "complex domain domain domain"}, bytes(120), "kinds: complex"),
    "hue": (colours("HSV-color", 0, 3)[0], bytes(180), "kinds: hsv-color"),
    "a matrix": (colours("2D-symmetric-matrix", 3, 3)[0], bytes(180), "kinds: 2d-symmetric-matrix"),
    "two colours": (colours("RGB-color", 0, 2)[0], bytes(120), "kinds: rgb-color .2"),
    "colours too wide": (
        colours("RGB-color", 0, 3)[0] | {"type": "int64", "endian": "big"},
        bytes(1440),
        "kinds: rgb-color .3 of int64",
    ),
    "no type": (LIST_FIRST | {"kinds": "complex domain domain domain", "type": None}, None, "type: absent"),
    "two axes of space": ({"kinds": "domain domain list"}, None, "2 of 3 axes are spatial"),
    "all nan": ({"type": "float", "endian": "little"}, b"\xff" * 240, "no voxel is a number in range"),
    "too large": (FLOAT, np.full(60, 1e38, "<f4").tobytes(), "no voxel is a number in range"),
    "mostly too large": (FLOAT, np.repeat([1, 1e30], [40, 20]).astype("<f4").tobytes(), "33 % of the voxels"),
    "too small": (FLOAT, (COUNTING * 1e-44).astype("<f4").tobytes(), "no voxel farther from 0 than 5.8"),
    "text in numbers": ({"byte skip": "many"}, None, "byte skip: .not shown"),
    "no bracket": ({"space origin": "1,2,3"}, None, "space origin: 1,2,3"),
}


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_a_disk_that_fails_is_not_held_against_the_file(encoding, tmp_path, monkeypatch):
    payload = {
        "raw": None,
        "gzip": gzip.compress(COUNTING.tobytes()),
        "bzip2": bz2.compress(COUNTING.tobytes()),
    }
    path = make(tmp_path / "a.nrrd", {"encoding": encoding}, payload[encoding])

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("components.shared.nrrd_data._fill", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_volume(path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(name, tmp_path):
    changes, payload, words = REFUSED[name]
    path = make(tmp_path / "a.nrrd", changes, payload)
    if name == "newer format":
        path.write_bytes(path.read_bytes().replace(b"NRRD0005", b"NRRD0006"))
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith("a.nrrd: ")
    assert "valid: " in message
    assert message.isprintable()
    assert str(tmp_path) not in message


@pytest.mark.parametrize("data", [b"", b"plain text\n", b"NRRD0005\n" + b"# long\n" * MAX_HEADER])
def test_what_is_not_a_volume_is_refused(data, tmp_path):
    (tmp_path / "a.nrrd").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_volume(tmp_path / "a.nrrd")


def test_what_cannot_be_opened_is_refused_by_its_name_alone(tmp_path):
    with pytest.raises(InputError, match=r"^gone\.nrrd: file: No such file"):
        read_volume(tmp_path / "gone.nrrd")
    with pytest.raises(InputError, match=f"^{tmp_path.name}: file: Is a directory"):
        read_volume(tmp_path)


def test_a_head_is_judged_without_its_file(tmp_path):
    whole = make(tmp_path / "a.nrrd", {"encoding": "gzip"}, bytes(10_000)).read_bytes()
    header = read_head(tmp_path / "elsewhere" / "a.nrrd", whole[:300])
    assert header.sizes == (5, 4, 3)
    assert np.allclose(header.affine[:3], LPS)
    detached = whole.replace(b"encoding", b"data file: s%03d.raw 1 3 1\nencoding")
    assert read_head(tmp_path / "b.nhdr", detached).data_names == ("s001.raw", "s002.raw", "s003.raw")
    assert data_files(tmp_path / "b.nhdr", detached) == ("s001.raw", "s002.raw", "s003.raw")
    with pytest.raises(InputError, match="endian: absent"):
        read_head(tmp_path / "a.nrrd", whole.replace(b"uint8", b"short"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_written_volume_is_read_back(dtype, tmp_path):
    affine = np.array([[0, 0.2, -0.7, 4], [-0.5, 0, 0, 5], [0, 0.6, 0.1, 6], [0, 0, 0, 1.0]])
    data = np.asarray(COUNTING.reshape(5, 4, 3), dtype)
    write_volume(tmp_path / "a.nrrd", Volume(data_XYZ=data, affine=affine))
    again = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(again.data_XYZ, data)
    assert again.data_XYZ.dtype == dtype
    assert np.allclose(again.affine, affine)


def test_equal_volumes_give_equal_files_at_any_time(tmp_path):
    for name in ("now", "later"):
        write_volume(tmp_path / name, Volume(data_XYZ=np.ones((2, 3, 4), np.uint8), affine=np.eye(4)))
        assert b"\n#" not in (tmp_path / name).read_bytes().partition(b"\n\n")[0]
    assert (tmp_path / "now").read_bytes() == (tmp_path / "later").read_bytes()
