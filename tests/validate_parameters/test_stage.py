"""Every parameter out of its range is refused by name, value and what would be valid."""

import pytest

from components.shared.faults import InputError
from components.shared.phantom import simulate_patients
from components.validate_parameters.stage import Parameters, validate

WRONG = {
    "label_fraction": [0, -0.1, 1.5, float("nan")],
    "confidence_threshold": [1, 2, -0.1, float("nan")],
    "label_unit": ["slice"],
    "max_rounds": [0, 51],
    "patience": [0],
    "min_gain": [-1, float("nan")],
    "relabel": ["some"],
    "classifier": ["vgg"],
    "epochs": [0],
    "image_size_px": [16, 1024],
    "gan_kimg": [0, float("inf")],
    "gan_resolution": [48],
    "gan_gamma": [-1],
    "gan_batch": [2],
    "gan_channel_base": [100],
    "gan_augment": ["bgcfnc"],
    "gan_resume_uri": ["/nowhere"],
    "pretrained_uri": ["/nowhere.pt"],
    "truncations": [[], [0], [0.5, 0.5], [3]],
    "images": [1],
    "plane_angles_deg": [[], [0, 10], [-10, 10], [0, 0], [-60, 0, 60]],
    "plane_spacing_mm": [0],
    "field_of_view_mm": [0],
    "run_name": ["a/b", "../up"],
    "gpu_count": ["one", "-1"],
    "seed": [-1],
    "patient_pattern": ["(", "no group"],
    "state_uri": [""],
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    simulate_patients(folder, patients=3, seed=1)
    return folder


def given(volumes, **changes):
    return Parameters(**{"volumes_uri": str(volumes), "state_uri": "state", **changes})


def test_defaults_are_valid(volumes):
    validate(given(volumes))
    assert given(volumes).label_fraction == 0.2


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_value_out_of_range_is_refused_by_name(volumes, name, value):
    with pytest.raises(InputError, match=rf"^{name}=.*valid: ") as refusal:
        validate(given(volumes, **{name: value}))
    assert "\n" not in str(refusal.value)


def test_too_few_patients_are_refused(volumes, tmp_path):
    names = sorted(path.name for path in volumes.glob("*.nrrd"))
    (tmp_path / names[0]).write_bytes((volumes / names[0]).read_bytes())
    with pytest.raises(InputError, match=r"volumes_uri=.*1 patient .*at least 3 patients"):
        validate(given(tmp_path))


def test_places_change_no_fingerprint_and_results_do(volumes):
    base = given(volumes).fingerprint()
    assert given(volumes, state_uri="elsewhere", gpu_count="4", run_name="x").fingerprint() == base
    assert given(volumes, label_fraction=0.5).fingerprint() != base
    assert given(volumes, seed=1).fingerprint() != base
