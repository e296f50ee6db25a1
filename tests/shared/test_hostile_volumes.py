"""No file makes the reader do anything but return a volume or refuse in one line."""

import bz2
import gzip
import random
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.shared.faults import InputError
from components.shared.volumes import read_header, read_volume
from tests.shared.nrrd_files import COUNTING, DIRECTIONS, FIELDS, LITTLE, make, memory
from tests.shared.test_volumes import READABLE, REFUSED

SECRET = "Perez"


def read_or_refuse(path, policy="refuse"):
    """Read a file, or see it refused in one line, within the bound that its accepted sizes set."""
    stored = 0
    with memory() as peak:
        try:
            stored = read_header(path, policy).data_bytes
            volume = read_volume(path, policy)
        except InputError as error:
            assert str(error).isprintable()
            assert SECRET not in str(error)
            return
        finally:
            assert peak() < 2 * stored + LITTLE
    assert np.isfinite(volume.data_XYZ).all()
    assert np.isfinite(volume.affine).all()
    assert abs(np.linalg.det(volume.affine)) > 0
    assert SECRET not in repr(volume.notes)


GENERATED = settings(
    max_examples=150, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = st.one_of(
    st.integers(-3, 9).map(str),
    st.sampled_from(["1e400", "nan", "-0", "+2", "99999999999999999999", "1_0", "٣"]),
)
vectors = st.lists(numbers, min_size=2, max_size=4).map(lambda words: f"({','.join(words)})") | st.just(
    "none"
)
values = st.one_of(
    st.text(max_size=30),
    st.lists(numbers, max_size=5).map(" ".join),
    st.lists(vectors, max_size=5).map(" ".join),
    st.lists(
        st.sampled_from(["domain", "list", "RGB-color", "complex", "time", "???", "vector"]), max_size=5
    ).map(" ".join),
    st.sampled_from(["gzip", "bzip2", "hex", "ascii", "raw", "short", "double", "int64", "big", "little"]),
    st.sampled_from(
        ["LPS", "RAST", "scanner-xyz", "LIST\na.raw\n..", "%d.raw 0 9 1", "%9999999d.raw 0 1 1", "."]
    ),
)
names = st.sampled_from(
    [
        *FIELDS,
        *("data file", "byte skip", "line skip", "kinds", "endian", "spacings", "units", "space units"),
        *("space dimension", "centerings", "measurement frame", "labels", "content"),
    ]
)
payloads = st.one_of(
    st.binary(max_size=80),
    st.just(COUNTING.tobytes()),
    st.just(gzip.compress(COUNTING.tobytes())),
    st.just(bz2.compress(COUNTING.tobytes())),
    st.just(b"1 2 nan -3 1e40 " * 12),
)


@pytest.mark.parametrize(
    "said", [f"{SECRET}^Ana", "19790304", f"(1,0,0) {SECRET} (0,0,1)", f'"{SECRET}" "mm"']
)
@pytest.mark.parametrize(
    "name", [*FIELDS, "kinds", "endian", "spacings", "units", "space units", "line skip"]
)
def test_no_field_brings_a_name_or_date_into_a_refusal_or_a_note(name, said, tmp_path):
    changes = {"type": "short", name: said}
    quotes_numbers = name in {
        "dimension",
        "sizes",
        "spacings",
        "space origin",
        "space directions",
        "line skip",
    }
    try:
        told = " ".join(read_volume(make(tmp_path / "a.nrrd", changes)).notes)
    except InputError as error:
        told = str(error)
    assert SECRET.lower() not in told.lower()
    assert quotes_numbers or "1979" not in told


@GENERATED
@given(st.dictionaries(names, values | st.none(), max_size=4), payloads, st.sampled_from(["refuse", "LPS"]))
def test_no_header_makes_anything_but_a_volume_or_a_refusal(tmp_path, changes, payload, policy):
    private = {"PatientName:": f"= {SECRET}", "content": SECRET, "labels": f'"{SECRET}'}
    read_or_refuse(make(tmp_path / "a.nrrd", private | changes, payload), policy)


@GENERATED
@given(
    st.lists(st.integers(1, 5), min_size=3, max_size=4),
    st.sampled_from(["u1", ">i2", "<i4", "<f4", ">f8"]),
    st.sampled_from(["raw", "gzip", "bzip2", "ascii", "hex"]),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_written_is_read(tmp_path, sizes, dtype, encoding, axis, seed):
    stored = np.random.default_rng(seed).integers(0, 255, sizes).astype(dtype)
    directions = DIRECTIONS.split()
    if len(sizes) == 4:
        directions.insert(axis, "none")
    kind = {"u": "uchar", "i2": "short", "i4": "int", "f4": "float", "f8": "double"}
    fields = {
        "type": kind["u" if dtype == "u1" else dtype[1:]],
        "endian": "big" if dtype[0] == ">" else "little",
        "dimension": len(sizes),
        "sizes": " ".join(map(str, sizes)),
        "space directions": " ".join(directions),
        "encoding": encoding,
    }
    volume = read_volume(make(tmp_path / "a.nrrd", fields, encoded(stored, encoding)))
    assert np.array_equal(volume.data_XYZ, stored.take(0, axis) if len(sizes) == 4 else stored)
    assert volume.data_XYZ.dtype == stored.dtype.newbyteorder("=")


def encoded(stored, encoding):
    data = stored.tobytes(order="F")
    if encoding == "ascii":
        return " ".join(map(str, stored.ravel(order="F").tolist())).encode()
    pack = {
        "raw": bytes,
        "gzip": partial(gzip.compress, compresslevel=1),
        "bzip2": bz2.compress,
        "hex": lambda b: b.hex().encode(),
    }
    return pack[encoding](data)


def alter(whole, others, chance):
    """Return a file with a few bytes changed, put in, cut out, or copied from other files."""
    altered = bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at, how = chance.randrange(len(altered)), chance.random()
        if how < 0.5:
            altered[at] = chance.randrange(256)
        elif how < 0.7:
            altered[at:at] = bytes([chance.choice(b"0123456789 ,()-+.%:=\n\r")])
        elif how < 0.85:
            del altered[at : at + chance.randrange(1, 5)]
        else:
            start = chance.randrange(40, 200)
            altered[at:at] = chance.choice(others)[start : start + chance.randrange(40)]
    return altered[: chance.choice([len(altered), len(altered), chance.randrange(len(altered))])]


@pytest.mark.parametrize("policy", ["refuse", "RAS"])
def test_no_altered_file_makes_a_traceback(policy, tmp_path):
    path, chance = tmp_path / "a.nrrd", random.Random(policy)
    wholes = [make(path, *file[:2]).read_bytes() for file in [*READABLE.values()] * 3 + [*REFUSED.values()]]
    read = 0
    for _ in range(500):
        path.write_bytes(alter(chance.choice(wholes), wholes, chance))
        try:
            volume = read_volume(path, policy)
        except InputError as error:
            assert str(error).isprintable()
        else:
            read += 1
            assert np.isfinite(volume.data_XYZ).all()
            assert np.isfinite(volume.affine).all()
    assert 20 < read < 480  # there are enough of both


def large(tmp_path, encoding, kind="uint8", changes=()):
    """A file of some 4 MB once decoded, hard to compress where it is compressed at all."""
    dtype = {"uint8": "u1", "float": ">f4", "double": ">f8"}[kind]
    components = 3 if dict(changes).get("dimension") == 4 else 1
    sizes = (128, 128, 256 // np.dtype(dtype).itemsize // components)
    number = components * np.prod(sizes)
    stored = np.random.default_rng(0).integers(0, 255, number).astype(dtype)
    if kind != "uint8" and encoding != "ascii":
        stored[7] = np.nan
    names = (components, *sizes) if components > 1 else sizes
    fields = {"type": kind, "endian": "big", "encoding": encoding, "sizes": " ".join(map(str, names))}
    return make(tmp_path / "a.nrrd", fields | dict(changes), encoded(stored, encoding)), stored.nbytes


COMPONENTS = {"dimension": 4, "space directions": f"none {DIRECTIONS}"}


@pytest.mark.parametrize(
    ("encoding", "kind", "changes"),
    [
        *((encoding, "uint8", ()) for encoding in ("raw", "gzip", "bzip2", "hex")),
        *((encoding, "float", ()) for encoding in ("raw", "gzip", "ascii")),
        ("raw", "double", ()),
        ("gzip", "uint8", COMPONENTS),
        ("raw", "uint8", COMPONENTS | {"kinds": "RGB-color domain domain domain"}),
        ("raw", "float", COMPONENTS | {"kinds": "RGB-color domain domain domain"}),
    ],
)
def test_a_read_takes_less_than_twice_the_volume(encoding, kind, changes, tmp_path):
    path, stored = large(tmp_path, encoding, kind, changes)
    with memory() as peak:
        volume = read_volume(path)
        assert peak() < 2 * stored
    assert volume.data_XYZ.flags.f_contiguous


BOMBS = {
    "gzip": gzip.compress(bytes(50_000_000)),
    "bzip2": bz2.compress(bytes(50_000_000)),
    "raw": bytes(5_000_000),
    "ascii": b"1" * 5_000_000,
    "hex": b"0" * 5_000_000,
}


@pytest.mark.parametrize("encoding", BOMBS)
def test_a_bomb_is_inflated_no_further_than_its_volume(encoding, tmp_path):
    path = make(tmp_path / "a.nrrd", {"encoding": encoding}, BOMBS[encoding])
    with memory() as peak:
        with pytest.raises(InputError, match=r"data: (at least|broken)"):
            read_volume(path)
        assert peak() < LITTLE


def test_endless_empty_streams_are_not_followed(tmp_path):
    path = make(tmp_path / "a.nrrd", {"encoding": "gzip"}, gzip.compress(b"") * 100_000)
    with pytest.raises(InputError, match="data: 2000000 bytes of gzip; valid: at most"):
        read_volume(path)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii", "hex"])
def test_sizes_that_the_file_cannot_hold_allocate_nothing(encoding, tmp_path):
    path = make(tmp_path / "a.nrrd", {"sizes": "800 800 800", "encoding": encoding}, bytes(1000))
    with memory() as peak:
        for read in (read_header, read_volume):
            with pytest.raises(InputError, match=r"1000 bytes of .* cannot hold the 512000000"):
                read(path)
        assert peak() < LITTLE


@pytest.mark.parametrize(
    "line",
    [
        f"PatientName:={SECRET}",
        f"DICOM_0010_0010:={SECRET}: x",
        f"# {SECRET}",
        f"content: {SECRET}",
        f'labels: "{SECRET}',
        f"sample units: {SECRET}",
        f"Patient: {SECRET}",
        f"measurement frame: {SECRET}",
        f"and so on, {SECRET}",
    ],
)
@pytest.mark.parametrize("broken", [{}, {"type": "block"}, {"sizes": "x"}, {"encoding": "gzip"}])
def test_a_name_in_the_header_reaches_nothing(line, broken, tmp_path, caplog, capfd):
    path = make(tmp_path / "a.nrrd", {"space": f"LPS\n{line}"} | broken)
    with caplog.at_level(0):
        try:
            told = repr(read_header(path)) + repr(read_volume(path).notes)
        except InputError as error:
            told = str(error)
    assert SECRET not in told + caplog.text + "".join(capfd.readouterr())
