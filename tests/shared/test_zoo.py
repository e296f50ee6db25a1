"""One row a file of the zoo of NRRD oddities: what it must give, or the words of its refusal."""

import numpy as np
import pytest

from components.shared.faults import InputError
from components.shared.volumes import read_header, read_volume
from tests.shared.nrrd_files import COUNTING, ZOO

pytestmark = pytest.mark.skipif(not ZOO.is_dir(), reason="the zoo of NRRD files is not here")

LPS = [[-0.5, 0, 0, -1], [0, -0.6, 0, -2], [0, 0, 0.7, 3]]
RAS = [[0.5, 0, 0, 1], [0, 0.6, 0, 2], [0, 0, 0.7, 3]]
LAS = [[-0.5, 0, 0, -1], [0, 0.6, 0, 2], [0, 0, 0.7, 3]]
OBLIQUE = [[-0.469846, 0.205212, 0, -1], [-0.171010, -0.563816, 0, -2], [0, 0, 0.7, 3]]
PERMUTED = [[0, 0, -0.7, -1], [0.5, 0, 0, -2], [0, -0.6, 0, 3]]
SHEARED = [[-0.5, -0.3, 0, -1], [0, -0.6, 0, -2], [0, 0, 0.7, 3]]
LEFT_HANDED = [[-0.5, 0, 0, -1], [0, 0.6, 0, -2], [0, 0, 0.7, 3]]
AT_ZERO = [[0.5, 0, 0, 0], [0, 0.6, 0, 0], [0, 0, 0.7, 0]]  # no origin

READ = {  # the affine, the type, what must be noted
    "01_lps_raw": (LPS, "uint8", ""),
    "02_ras_raw": (RAS, "uint8", ""),
    "03_las_raw": (LAS, "uint8", ""),
    "04_RAS_abbrev": (RAS, "uint8", ""),
    "08_gzip": (LPS, "uint8", ""),
    "09_bzip2": (LPS, "uint8", ""),
    "10_hex": (LPS, "uint8", ""),
    "11_ascii": (LPS, "uint8", ""),
    "12_big_endian_i2": (LPS, "int16", ""),
    "14_oblique20": (OBLIQUE, "uint8", ""),
    "15_permuted": (PERMUTED, "uint8", ""),
    "16_nonorthogonal": (SHEARED, "uint8", ""),
    "17_lefthanded": (LEFT_HANDED, "uint8", ""),
    "18_4d_list_first": (LPS, "uint8", "component 0 of 2"),
    "19_4d_list_last": (LPS, "uint8", "component 0 of 2"),
    "20_rgb": (LPS, "uint8", "luminance of RGB"),
    "21_float_nan": (LPS, "float32", "2 voxels were no numbers"),
    "22_crlf": (LPS, "uint8", ""),
    "23_byteskip-1": (LPS, "uint8", ""),
    "24_lineskip1": (LPS, "uint8", ""),
    "26_extra_bytes": (LPS, "uint8", "5 bytes after the data"),
    "27_dup_field": (LPS, "uint8", "space is given twice"),  # with one value
    "30_custom_kv_utf8": (LPS, "uint8", ""),
    "32_detached": (LPS, "uint8", ""),
    "34_detached_list": (LPS, "uint8", ""),
    "40_LR_spacetime": (AT_ZERO, "uint8", ""),
}
ASSUMED = {  # what missing_geometry=RAS makes of it
    "05_nospace_spacings": AT_ZERO,
    "07_spacedim_only": RAS,
}
REFUSED = {
    "05_nospace_spacings": "space: absent, so left and right are unknown; .*missing_geometry",
    "06_nogeometry": "space directions: absent like spacings, so millimetres are unknown",
    "07_spacedim_only": "space: absent, so left and right are unknown; .*missing_geometry",
    "13_i2_no_endian": "endian: absent; valid: little, big",
    "25_truncated": "data: 53 bytes of raw cannot hold the 60 that sizes and type ask for",
    "28_trunc_gzip": "data: truncated gzip; valid: 60 bytes",
    "29_2d": "sizes: 5 4 .dimension 2.; valid: three spatial axes",
    "31_huge_sizes": "sizes: 100000 100000 100 .*; valid: at most 536870912 voxels",
    "33_detached_missing": r"data file: \(name\)\.raw \(not there",
    "36_zero_spacing": "space directions: spacing 0 0.6 0.7; valid: 0.01 to 100 mm",
    "37_nan_spacing": "spacings: spacing nan 0.6 0.7; valid: 0.01 to 100 mm",
    "38_nifti_named_nrrd": "first bytes: not those of NRRD",
    "39_empty": "first bytes: none, the file is empty",
}


def expected_voxels(name):
    if name != "21_float_nan":
        return COUNTING
    stored = np.frombuffer((ZOO / f"{name}.nrrd").read_bytes()[-240:], "<f4")
    return np.where(np.isfinite(stored), stored, stored[np.isfinite(stored)].min())


def file_of(name):
    return next(ZOO.glob(f"{name}.n*"))


@pytest.mark.parametrize("name", READ)
def test_what_can_be_read_is_read(name):
    affine, dtype, note = READ[name]
    volume = read_volume(file_of(name))
    assert np.allclose(volume.affine[:3], affine, atol=1e-5)
    assert volume.data_XYZ.dtype == np.dtype(dtype)
    assert volume.data_XYZ.shape == (5, 4, 3)
    assert np.array_equal(volume.data_XYZ.ravel(order="F"), expected_voxels(name))
    assert [note in said for said in volume.notes] == [True] * bool(note)
    assert volume.replaced == 2 * (name == "21_float_nan")
    assert volume.orientation == "header"
    assert np.array_equal(read_header(file_of(name)).affine, volume.affine)


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_in_one_line(name):
    path = file_of(name)
    with pytest.raises(InputError, match=f"^{path.name}: {REFUSED[name]}") as caught:
        read_volume(path)
    assert "valid: " in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", REFUSED)
def test_an_assumed_orientation_makes_up_nothing_else(name):
    if name not in ASSUMED:
        with pytest.raises(InputError, match=REFUSED[name]):
            read_volume(file_of(name), "RAS")
        return
    volume = read_volume(file_of(name), "RAS")
    assert np.allclose(volume.affine[:3], ASSUMED[name], atol=1e-5)
    assert volume.orientation == "RAS"
    assert np.array_equal(volume.data_XYZ.ravel(order="F"), COUNTING)


def test_every_file_has_its_row():
    assert {path.stem for path in ZOO.glob("*.n*")} == set(READ) | set(REFUSED)
