import json

import numpy as np
import pytest
import torch

from components.shared import classifier as classifiers
from components.shared.classifier import Classifier
from components.shared.faults import InputError
from components.shared.planes import CLASSES, CORONAL, NOISE, SAGITTAL, Seen
from tests.drawn_planes import SIDE, write_planes


def small(classes=CLASSES, size_px=SIDE) -> Classifier:
    torch.manual_seed(0)
    network = classifiers.build("resnet18", len(classes))
    return Classifier(
        network=network,
        architecture="resnet18",
        classes=list(classes),
        size_px=size_px,
        seen=Seen(patients=frozenset("a")),
        chosen_by=Seen(patients=frozenset("v")),
    )


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (9, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_a_saved_classifier_reads_planes_as_before(tmp_path, images):
    model = small()
    classifiers.save(model, {"config": {"seed": 0}}, tmp_path)
    again = classifiers.load(tmp_path)
    assert (again.seen, again.chosen_by) == (model.seen, model.chosen_by)
    before, after = (classifiers.probabilities(m, images, 4) for m in (model, again))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "name", ["patients_seen", "scans_seen", "patients_validated_on", "scans_validated_on"]
)
@pytest.mark.parametrize("told", [None, "abc", {}, [1]])
def test_a_classifier_that_does_not_say_whom_it_has_seen_is_refused(name, told, tmp_path):
    about = classifiers.save(small(), {}, tmp_path)
    (tmp_path / classifiers.ABOUT).write_text(json.dumps(about | {name: told}))
    with pytest.raises(InputError, match=r"does not say whom it (learnt from|was validated on); valid"):
        classifiers.load(tmp_path)


def test_probabilities_sum_to_one_and_do_not_depend_on_the_batch(images):
    model = small()
    found_NC = classifiers.probabilities(model, images, 9)
    np.testing.assert_allclose(found_NC.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found_NC, classifiers.probabilities(model, images, 2), atol=1e-5)


def test_a_class_that_was_left_out_gets_no_probability(images):
    found_NC = classifiers.probabilities(small(classes=(CORONAL, NOISE)), images, 4)
    assert np.all(found_NC[:, CLASSES.index(SAGITTAL)] == 0)
    np.testing.assert_allclose(found_NC.sum(axis=1), 1, rtol=1e-5)


def test_temperature_softens(images):
    model = small()
    warm = Classifier(**{**model.__dict__, "temperature": 10.0})
    sharp_NC, soft_NC = (classifiers.probabilities(m, images, 9) for m in (model, warm))
    assert soft_NC.max() < sharp_NC.max()
    assert np.array_equal(soft_NC.argmax(axis=1), sharp_NC.argmax(axis=1))
    assert classifiers.probabilities(small(), images[:0], 4).shape == (0, 3)


def test_what_is_tempered_is_the_views_mean_that_the_temperature_is_fitted_on(images):
    warm = Classifier(**{**small(classes=(CORONAL, NOISE)).__dict__, "temperature": 2.5})
    raw_NC = classifiers.uncalibrated(warm, images, 4)
    expected_N2 = raw_NC[:, classifiers.known_columns(warm)] ** (1 / 2.5)
    expected_N2 /= expected_N2.sum(axis=1, keepdims=True)
    found_NC = classifiers.probabilities(warm, images, 4)
    np.testing.assert_allclose(found_NC[:, classifiers.known_columns(warm)], expected_N2, atol=1e-5)
    assert np.all(found_NC[:, CLASSES.index(SAGITTAL)] == 0)


@pytest.mark.parametrize("spoil", ["weights", "json"])
def test_an_unfinished_or_changed_classifier_is_refused(tmp_path, spoil):
    classifiers.save(small(), {}, tmp_path)
    if spoil == "json":
        (tmp_path / classifiers.ABOUT).unlink()
    else:
        with (tmp_path / classifiers.WEIGHTS).open("ab") as file:
            file.write(b"x")
    assert not classifiers.is_whole(tmp_path)
    with pytest.raises(InputError, match="not a complete classifier"):
        classifiers.load(tmp_path)


def test_the_json_names_the_weights_and_the_notes(tmp_path):
    about = classifiers.save(small(), {"labelled": 7}, tmp_path)
    assert json.loads((tmp_path / classifiers.ABOUT).read_text()) == about
    assert about["labelled"] == 7
    assert about["classes"] == list(CLASSES)


def test_pixels_are_shrunk_with_antialias_in_the_order_of_the_rows(tmp_path):
    planes = write_planes(tmp_path, ["a"], per_class=2)
    images_NHW = classifiers.load_pixels(planes, planes.rows[::-1], 8)
    means = [float(image.mean()) for image in planes.images(planes.rows[::-1])]
    assert images_NHW.shape == (6, 8, 8)
    assert images_NHW.dtype == torch.uint8
    np.testing.assert_allclose(images_NHW.float().mean(dim=(1, 2)), means, atol=1.5)


@pytest.mark.parametrize("architecture", classifiers.ARCHITECTURES)
def test_every_architecture_has_its_head_where_it_is_said(architecture):
    with torch.device("meta"):
        state = classifiers.build(architecture, 5).state_dict()
    head = [value for name, value in state.items() if name.startswith(classifiers.HEADS[architecture])]
    assert [value.shape[0] for value in head] == [5, 5]
