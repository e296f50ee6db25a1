import csv

import numpy as np
import pytest
import torch

from components.classify_images.stage import Config, classify_images
from components.shared import classifier as classifiers
from components.shared.classifier import Classifier
from components.shared.faults import InputError
from components.shared.metrics import PREDICTIONS
from components.shared.planes import CLASSES, CORONAL, SAGITTAL, Seen
from tests.drawn_planes import SIDE, write_synthetic


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("synthetic"), ["a"], [CORONAL, SAGITTAL] * 5)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    network = classifiers.build("resnet18", 3)
    folder = tmp_path_factory.mktemp("classifier")
    model = Classifier(
        network=network,
        architecture="resnet18",
        classes=CLASSES,
        size_px=SIDE,
        seen=Seen(patients=frozenset("a")),
        chosen_by=Seen(patients=frozenset("v")),
    )
    classifiers.save(model, {}, folder)
    return folder


def read(folder):
    with (folder / PREDICTIONS).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_gets_its_probabilities_in_order(classifier, synthetic, tmp_path):
    assert classify_images(Config(batch=3), classifier, synthetic, None, tmp_path) == 10
    lines = read(tmp_path)
    assert [line["image"] for line in lines] == [row.image for row in synthetic.rows]
    for line in lines:
        values = [float(line[label]) for label in CLASSES]
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert line["label"] == CLASSES[int(np.argmax(values))]
        assert float(line["confidence"]) == max(values)


def test_a_part_of_the_pool_gets_the_same_values_as_in_the_whole(classifier, synthetic, tmp_path):
    only = {row.image for row in synthetic.rows[::3]}
    classify_images(Config(batch=5), classifier, synthetic, None, tmp_path / "all")
    assert classify_images(Config(batch=5), classifier, synthetic, only, tmp_path / "part") == 4
    whole = {line["image"]: line for line in read(tmp_path / "all")}
    for line in read(tmp_path / "part"):
        assert float(line["confidence"]) == pytest.approx(float(whole[line["image"]]["confidence"]), abs=2e-5)


def test_an_empty_pool_is_a_file_with_a_header(classifier, synthetic, tmp_path):
    assert classify_images(Config(), classifier, synthetic, [], tmp_path) == 0
    assert (tmp_path / PREDICTIONS).read_text() == "image,coronal,sagittal,noise,label,confidence\n"


def test_a_folder_without_a_classifier_is_refused(synthetic, tmp_path):
    with pytest.raises(InputError, match="not a complete classifier"):
        classify_images(Config(), tmp_path, synthetic, None, tmp_path)
