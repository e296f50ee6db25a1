"""A generator of another data set may be the start: its patients are seen, and leak nothing."""

import json
from dataclasses import replace

import stylegan2_ada

from components.evaluate.stage import Config as EvaluateConfig
from components.evaluate.stage import evaluate
from components.generate_images.stage import Config as GenerateConfig
from components.generate_images.stage import generate_images
from components.shared.planes import CORONAL, SAGITTAL, PlaneSet
from components.train_classifier.stage import Config as ClassifierConfig
from components.train_classifier.stage import PseudoLabels, train_classifier
from components.train_gan.stage import train_gan
from tests.drawn_planes import SPLITS, splits_of, write_planes
from tests.train_gan.test_stage import TINY


def test_an_imported_network_is_a_start_that_saw_nobody(tmp_path):
    """One as `stylegan2_ada import` leaves it: in colour, with a source and no patients."""
    planes = write_planes(tmp_path / "planes", list(SPLITS.sides), per_class=2)
    settings = stylegan2_ada.TrainingConfig(
        kimg=0.008, resolution=TINY.resolution, batch=4, channel_base=32, channels=3
    )
    members = [row.image for row in planes.rows_of(SPLITS.patients("train"))]
    stylegan2_ada.train(settings, planes.archive, members, tmp_path / "published")
    index = tmp_path / "published/generator.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"source": {"file": "published.pkl"}}))
    start = replace(TINY, resume_uri=str(tmp_path / "published"), channel_base=0)
    info = train_gan(start, planes, SPLITS, tmp_path / "out")
    assert info["architecture"]["channel_base"] == 32
    assert info["channels"] == 1
    assert info["patients_seen"] == ["a", "b", "c"]


def test_foreign_patients_go_all_the_way_through_a_study(tmp_path):
    foreign = write_planes(tmp_path / "foreign", ["x", "y"], per_class=2)
    train_gan(TINY, foreign, splits_of({"x": "train", "y": "train"}), tmp_path / "first")
    planes = write_planes(tmp_path / "planes", list(SPLITS.sides), per_class=2)
    train_gan(replace(TINY, resume_uri=str(tmp_path / "first")), planes, SPLITS, tmp_path / "second")
    generate_images(GenerateConfig(images=8), tmp_path / "second", tmp_path / "synthetic")
    synthetic = PlaneSet.open(tmp_path / "synthetic")
    labels = {row.image: (CORONAL, SAGITTAL)[row.seed % 2] for row in synthetic.rows}
    config = ClassifierConfig(architecture="resnet18", epochs=1, size_px=32, batch=12, label_fraction=1.0)
    pseudo = PseudoLabels(images=synthetic, labels=labels)
    about = train_classifier(config, planes, SPLITS, pseudo, tmp_path / "classifier")
    assert about["patients_seen"] == ["a", "b", "c", "x", "y"]
    measured = evaluate(
        EvaluateConfig(), planes, SPLITS, {"round_001": tmp_path / "classifier"}, tmp_path / "evaluation"
    )
    assert measured["patients"] == ["t", "u"]
