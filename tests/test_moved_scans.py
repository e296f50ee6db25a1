"""A scan whose patient was corrected, or that comes under another key, is still the scan a model has seen."""

from dataclasses import replace

import pytest

from components.apply_classifiers.stage import Config as ApplyConfig
from components.apply_classifiers.stage import apply_classifiers
from components.evaluate.stage import Config as EvaluateConfig
from components.evaluate.stage import evaluate
from components.generate_images.stage import Config as GenerateConfig
from components.generate_images.stage import generate_images
from components.judge_synthetic.stage import Config as JudgeConfig
from components.judge_synthetic.stage import judge_synthetic
from components.shared import classifier as classifiers
from components.shared.faults import InputError
from components.shared.planes import CORONAL, PlaneSet
from components.train_classifier.stage import Config, PseudoLabels, train_classifier
from components.train_gan.stage import Config as GanConfig
from components.train_gan.stage import train_gan
from tests.drawn_planes import SPLITS, splits_of, write_planes, write_synthetic

TINY = Config(architecture="resnet18", epochs=1, size_px=32, batch=12, label_fraction=1.0)
GAN = GanConfig(kimg=0.008, resolution=8, gamma=0.0, batch=4, channel_base=64, snapshot_kimg=0.008)
MOVED = {"t": "scan of a", "a": "another scan"}  # a's first scan is the test patient's by the corrected table
SAID = r"has seen scans scan of a of t \(test\), by splits\.csv \w{12}; valid: .*train patients alone"


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("before"), sorted(SPLITS.sides), per_class=2)


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    return write_planes(tmp_path_factory.mktemp("now"), sorted(SPLITS.sides), per_class=2, scans=MOVED)


@pytest.fixture(scope="module")
def generator(before, tmp_path_factory):
    out = tmp_path_factory.mktemp("generator")
    about = train_gan(GAN, before, SPLITS, out)
    assert about["scans_seen"] == ["scan of a", "scan of b", "scan of c"]
    return out


@pytest.fixture(scope="module")
def classifier(before, tmp_path_factory):
    out = tmp_path_factory.mktemp("classifier")
    about = train_classifier(TINY, before, SPLITS, None, out)
    assert about["scans_validated_on"] == ["scan of v"]
    return out


def test_a_gan_goes_on_from_no_generator_that_saw_it(generator, before, now, tmp_path):
    start = replace(GAN, resume_uri=str(generator))
    with pytest.raises(InputError, match=rf"^gan_resume_uri=.*: {SAID}"):
        train_gan(start, now, SPLITS, tmp_path / "g")
    trained = splits_of({**SPLITS.sides, "t": "train", "c": "test"})
    moved_among_those = write_planes(tmp_path / "p", sorted(SPLITS.sides), 2, scans={**MOVED, "c": "third"})
    about = train_gan(start, moved_among_those, replace_sides(trained), tmp_path / "h")
    assert about["scans_seen"] == ["another scan", *(f"scan of {name}" for name in "abc")]


def replace_sides(splits):
    """Return the splits without c, whom the generator has seen."""
    return type(splits)(
        {name: fold for name, fold in splits.folds.items() if name != "c"},
        {name: side for name, side in splits.sides.items() if name != "c"},
    )


def test_what_it_drew_teaches_no_classifier_and_is_not_judged(generator, now, tmp_path):
    generate_images(GenerateConfig(truncations=(1.0,), images=6), generator, tmp_path / "s")
    synthetic = PlaneSet.open(tmp_path / "s")
    pseudo = PseudoLabels(images=synthetic, labels={row.image: CORONAL for row in synthetic.rows})
    with pytest.raises(InputError, match=rf"^synthetic planes \w{{12}}: {SAID}"):
        train_classifier(TINY, now, SPLITS, pseudo, tmp_path / "c")
    with pytest.raises(InputError, match=rf"^synthetic planes \w{{12}}: {SAID}"):
        judge_synthetic(JudgeConfig(), now, SPLITS, synthetic, None, tmp_path / "j")


def test_a_classifier_that_saw_it_judges_no_images(classifier, now, tmp_path):
    synthetic = write_synthetic(tmp_path / "s", ["b"], [CORONAL] * 4)
    with pytest.raises(InputError, match=rf"^classifier \w{{12}}: {SAID}"):
        judge_synthetic(JudgeConfig(), now, SPLITS, synthetic, classifier, tmp_path / "j")


def test_what_a_generator_drew_hands_its_scans_on(before, tmp_path):
    foreign = write_planes(tmp_path / "p", ["x"], per_class=4)
    train_gan(GAN, foreign, splits_of({"x": "train"}), tmp_path / "g")
    generate_images(GenerateConfig(truncations=(1.0,), images=6), tmp_path / "g", tmp_path / "s")
    synthetic = PlaneSet.open(tmp_path / "s")
    pseudo = PseudoLabels(images=synthetic, labels={row.image: CORONAL for row in synthetic.rows})
    about = train_classifier(TINY, before, SPLITS, pseudo, tmp_path / "c")
    assert about["scans_seen"] == [f"scan of {name}" for name in "abcx"]


def test_a_classifier_that_saw_it_is_no_start_and_is_not_evaluated(classifier, now, tmp_path):
    start = replace(TINY, pretrained_uri=str(classifier / classifiers.WEIGHTS))
    with pytest.raises(InputError, match=rf"^pretrained_uri=.*{SAID}"):
        train_classifier(start, now, SPLITS, None, tmp_path / "c")
    with pytest.raises(InputError, match=rf"^model mine \(\w{{12}}\): {SAID}"):
        evaluate(EvaluateConfig(), now, SPLITS, {"mine": classifier}, tmp_path / "e")


@pytest.mark.parametrize("scans", [{}, {"t": "scan of v", "v": "another scan"}])
def test_a_classifier_that_was_chosen_by_who_is_tested_now_is_not_evaluated(classifier, scans, tmp_path):
    planes = write_planes(tmp_path / "p", sorted(SPLITS.sides), 2, scans=scans)
    turned = SPLITS if scans else splits_of({**SPLITS.sides, "v": "test", "u": "validation"})
    said = r"has seen scans scan of v of t \(test\)" if scans else r"made from patients v \(test\)"
    with pytest.raises(InputError, match=rf"^model mine \(\w{{12}}\): {said}"):
        evaluate(EvaluateConfig(), planes, turned, {"mine": classifier}, tmp_path / "e")


@pytest.mark.parametrize("scans", [{}, {"t": "scan of v", "v": "another scan"}])
def test_weights_that_were_chosen_by_who_is_tested_now_are_no_start(classifier, tmp_path, scans):
    """By name, or by a scan: they may have been chosen for how they read them."""
    planes = write_planes(tmp_path / "p", sorted(SPLITS.sides), 2, scans=scans)
    start = replace(TINY, pretrained_uri=str(classifier / classifiers.WEIGHTS))
    turned = SPLITS if scans else splits_of({**SPLITS.sides, "v": "test", "u": "validation"})
    said = r"has seen scans scan of v of t \(test\)" if scans else r"made from patients v \(test\)"
    with pytest.raises(InputError, match=rf"^pretrained_uri=.*{said}.*valid: .*train or validation"):
        train_classifier(start, planes, turned, None, tmp_path / "c")
    whole = write_planes(tmp_path / "q", sorted(SPLITS.sides), 2)
    about = train_classifier(start, whole, splits_of({**SPLITS.sides, "v": "train", "t": "validation"}),
                             None, tmp_path / "d")  # fmt: skip
    assert about["patients_validated_on"] == ["t", "v"]


@pytest.mark.parametrize("scan", ["scan of a", "scan of v"])
def test_a_classifier_is_not_applied_to_what_it_learnt_or_was_chosen_by(classifier, tmp_path, scan):
    planes = write_planes(tmp_path / "p", ["x", "y"], per_class=1, scans={"x": scan})
    with pytest.raises(InputError, match=rf"^classifier mine: has seen scans {scan} of these volumes"):
        apply_classifiers(ApplyConfig(), planes, {"mine": classifier}, tmp_path / "out")
