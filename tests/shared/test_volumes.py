import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.volumes import MAX_HEADER, Volume, read_header, read_volume, write_volume

ZOO = Path(__file__).parents[3] / "shared" / "data" / "nrrd_zoo"
COUNTING = np.arange(60, dtype=np.uint8)
FIELDS = {
    "type": "uint8",
    "dimension": "3",
    "sizes": "5 4 3",
    "space": "left-posterior-superior",
    "space directions": "(0.5,0,0) (0,0.6,0) (0,0,0.7)",
    "space origin": "(1,2,3)",
    "encoding": "raw",
}
LPS = [[-0.5, 0, 0, -1], [0, -0.6, 0, -2], [0, 0, 0.7, 3]]


def make(path, changes=(), payload=None, end="\n"):
    """A small NRRD file with some fields changed; None drops a field."""
    fields = {name: value for name, value in (FIELDS | dict(changes)).items() if value is not None}
    head = end.join(["NRRD0005", *(f"{name}: {value}" for name, value in fields.items()), "", ""])
    path.write_bytes(head.encode() + (COUNTING.tobytes() if payload is None else payload))
    return path


READABLE = {
    "raw": ({}, None),
    "gzip": ({"encoding": "gzip"}, gzip.compress(COUNTING.tobytes())),
    "bzip2": ({"encoding": "bzip2"}, bz2.compress(COUNTING.tobytes())),
    "ascii": ({"encoding": "ascii"}, " ".join(map(str, COUNTING)).encode()),
    "hex": ({"encoding": "hex"}, COUNTING.tobytes().hex(" ").encode()),
    "big endian": ({"type": "short", "endian": "big"}, COUNTING.astype(">i2").tobytes()),
    "float": ({"type": "float", "endian": "little"}, COUNTING.astype("<f4").tobytes()),
    "byte skip": ({"byte skip": 7}, bytes(7) + COUNTING.tobytes()),
    "from the end": ({"byte skip": -1}, bytes(7) + COUNTING.tobytes()),
    "line skip": ({"line skip": 2}, b"a\nb\n" + COUNTING.tobytes()),
    "abbreviation": ({"space": "LPS"}, None),
    "component first": (
        {"dimension": 4, "sizes": "2 5 4 3", "space directions": "none " + FIELDS["space directions"]},
        np.repeat(COUNTING, 2).tobytes(),
    ),
    "component last": (
        {"dimension": 4, "sizes": "5 4 3 2", "space directions": FIELDS["space directions"] + " none"},
        COUNTING.tobytes() * 2,
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_every_kind_of_file_gives_the_same_voxels_and_geometry(name, tmp_path):
    volume = read_volume(make(tmp_path / "a.nrrd", *READABLE[name]))
    assert volume.data_XYZ.shape == (5, 4, 3)
    assert volume.data_XYZ.dtype.isnative
    assert np.array_equal(volume.data_XYZ.ravel(order="F"), COUNTING)
    assert np.allclose(volume.affine[:3], LPS, atol=1e-5)


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


def test_what_is_not_finite_takes_the_minimum(tmp_path):
    values = COUNTING.astype("<f4") + 1
    values[[3, 7]] = np.nan, np.inf
    volume = read_volume(make(tmp_path / "a.nrrd", {"type": "float", "endian": "little"}, values.tobytes()))
    assert volume.replaced == 2
    assert volume.data_XYZ.ravel("F")[3] == volume.data_XYZ.ravel("F")[7] == 1


REFUSED = {
    "no space": ({"space": None}, None, "space: absent"),
    "no directions": ({"space directions": None}, None, "space directions: absent"),
    "scanner space": ({"space": "scanner-xyz"}, None, "space: scanner-xyz"),
    "zero spacing": ({"space directions": "(0,0,0) (0,0.6,0) (0,0,0.7)"}, None, "space directions: spacing"),
    "nan spacing": ({"space directions": "(nan,0,0) (0,0.6,0) (0,0,0.7)"}, None, "space directions: spacing"),
    "flat": ({"space directions": "(1,0,0) (1,0,0) (0,0,0.7)"}, None, "that span a volume"),
    "metres": ({"space units": '"m" "m" "m"'}, None, "space units: m m m"),
    "two dimensions": ({"dimension": 2, "sizes": "5 4"}, None, "sizes: dimension 2"),
    "huge": ({"sizes": "100000 100000 100"}, None, "at most"),
    "truncated": ({}, bytes(59), "data: 59 bytes"),
    "too long": ({}, bytes(61), "data: 61 bytes"),
    "truncated gzip": ({"encoding": "gzip"}, gzip.compress(COUNTING.tobytes())[:-12], "data:"),
    "not gzip": ({"encoding": "gzip"}, bytes(60), "broken gzip"),
    "not bzip2": ({"encoding": "bzip2"}, bytes(60), "broken bzip2"),
    "not numbers": ({"encoding": "ascii"}, b"one two", "data:"),
    "no endian": ({"type": "short"}, None, "endian: absent"),
    "block": ({"type": "block"}, None, "type: block"),
    "outside": ({"data file": "../../../etc/passwd"}, None, "data file: .*in the folder of its header"),
    "absolute": ({"data file": "/etc/passwd"}, None, "data file: .*in the folder of its header"),
    "missing file": ({"data file": "nope.raw"}, None, "data file: nope.raw"),
    "LIST": ({"data file": "LIST"}, None, "data file: LIST"),
    "odd pattern": ({"data file": "%s.raw 1 2 1"}, None, "data file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(name, tmp_path):
    changes, payload, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        read_volume(make(tmp_path / "a.nrrd", changes, payload))
    message = str(caught.value)
    assert message.startswith("a.nrrd: ")
    assert "valid: " in message
    assert "\n" not in message


@pytest.mark.parametrize("data", [b"", b"plain text\n", b"NRRD0005\n" + b"# long\n" * MAX_HEADER])
def test_what_is_not_a_volume_is_refused(data, tmp_path):
    (tmp_path / "a.nrrd").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_volume(tmp_path / "a.nrrd")


def test_a_gzip_bomb_is_inflated_no_further_than_its_volume(tmp_path):
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(InputError, match="data: 61 bytes"):
        read_volume(make(tmp_path / "a.nrrd", {"encoding": "gzip"}, bomb))


def test_detached_files_are_read_and_links_out_of_the_folder_are_not(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out.raw"
    inside.mkdir()
    outside.write_bytes(COUNTING.tobytes())
    for number in range(3):
        (inside / f"s{number}.raw").write_bytes(COUNTING[20 * number : 20 * number + 20].tobytes())
    several = make(inside / "a.nhdr", {"data file": "s%d.raw 0 2 1 2"}, b"")
    assert np.array_equal(read_volume(several).data_XYZ.ravel("F"), COUNTING)
    (inside / "link.raw").symlink_to(outside)
    with pytest.raises(InputError, match="in the folder of its header"):
        read_volume(make(inside / "b.nhdr", {"data file": "link.raw"}, b""))


def test_a_name_in_the_header_reaches_nothing(tmp_path):
    path = make(tmp_path / "a.nrrd", {"PatientName:": "= Perez"})
    assert "Perez" not in repr(read_header(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_written_volume_is_read_back(dtype, tmp_path):
    affine = np.array([[0, 0.2, -0.7, 4], [-0.5, 0, 0, 5], [0, 0.6, 0.1, 6], [0, 0, 0, 1.0]])
    data = np.asarray(COUNTING.reshape(5, 4, 3), dtype)
    write_volume(tmp_path / "a.nrrd", Volume(data_XYZ=data, affine=affine))
    again = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(again.data_XYZ, data)
    assert again.data_XYZ.dtype == dtype
    assert np.allclose(again.affine, affine)


names = st.sampled_from([*FIELDS, "data file", "byte skip", "line skip", "kinds", "endian", "spacings"])
values = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["none", "(1,0,0)", "(1,0,0) none (0,1,0) (0,0,1)", "5 4 3 1", "1e400", "-1", "gzip", "nan"]
    ),
)


@settings(max_examples=300, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, max_size=4), st.binary(max_size=80))
def test_no_header_makes_anything_but_a_volume_or_a_refusal(tmp_path, changes, payload):
    try:
        read_volume(make(tmp_path / "a.nrrd", changes, payload))
    except InputError as error:
        assert "\n" not in str(error)


REFUSED_IN_ZOO = {
    **dict.fromkeys(
        ["05_nospace_spacings", "06_nogeometry", "07_spacedim_only", "37_nan_spacing"], "space: absent"
    ),
    "13_i2_no_endian": "endian: absent",
    "25_truncated": "data: 53 bytes",
    "26_extra_bytes": "data: 61 bytes",
    "27_dup_field": "Duplicate header field",
    "28_trunc_gzip": "data: 57 bytes",
    "29_2d": "sizes: dimension 2",
    "31_huge_sizes": "at most",
    "33_detached_missing": "data file: nope.raw",
    "36_zero_spacing": "spacing",
    "38_nifti_named_nrrd": "first bytes",
    "39_empty": "first bytes",
}


@pytest.mark.skipif(not ZOO.is_dir(), reason="the zoo of NRRD files is not here")
@pytest.mark.parametrize("path", sorted(ZOO.glob("*.n*")), ids=lambda path: path.stem)
def test_the_zoo(path):
    if path.stem in REFUSED_IN_ZOO:
        with pytest.raises(InputError, match=REFUSED_IN_ZOO[path.stem]):
            read_volume(path)
        return
    volume = read_volume(path)
    assert volume.data_XYZ.shape == (5, 4, 3)
    assert volume.data_XYZ.dtype.isnative
    if path.stem != "21_float_nan":
        assert np.array_equal(volume.data_XYZ.ravel("F")[:4], [0, 1, 2, 3])
    assert np.allclose(np.linalg.norm(volume.affine[:3, :3], axis=0)[2], 0.7, atol=1e-5)


def test_equal_volumes_give_equal_files_at_any_time(tmp_path):
    for name in ("now", "later"):
        write_volume(tmp_path / name, Volume(data_XYZ=np.ones((2, 3, 4), np.uint8), affine=np.eye(4)))
        assert b"\n#" not in (tmp_path / name).read_bytes().partition(b"\n\n")[0]
    assert (tmp_path / "now").read_bytes() == (tmp_path / "later").read_bytes()
