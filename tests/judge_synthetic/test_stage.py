import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_ada import metrics
from torch import nn

from components.judge_synthetic import fidelity
from components.judge_synthetic.likeness import shrunk
from components.judge_synthetic.stage import Config, judge_synthetic
from components.shared import classifier as classifiers
from components.shared.faults import InputError
from components.shared.planes import CLASSES, GAN_CLASSES, PlaneRow, PlaneSetWriter, Seen
from tests.judge_synthetic.conftest import seen_by, write_images

SIDE = 32


class Pooled(nn.Module):
    """Means over a grid of eight by eight."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 64, 8).mean(1).flatten(1)


class Flat(nn.Module):
    """No features: a picture a picture."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float()


def script(path, network):
    with pytest.warns(FutureWarning):  # who is given a TorchScript file cannot export it anew
        torch.jit.save(torch.jit.script(network), str(path))
    return str(path)


@pytest.fixture(scope="module")
def synthetic(planes, splits, tmp_path_factory):
    """Return real planes of unseen patients as if a GAN had made them."""
    pictures = seen_by(planes, splits, "validation", "test")
    return write_images(tmp_path_factory.mktemp("made"), pictures, splits.patients("train"), SIDE)


@pytest.fixture(scope="module")
def classifier(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    model = classifiers.Classifier(
        network=classifiers.build("resnet18", 3),
        architecture="resnet18",
        classes=CLASSES,
        size_px=32,
        seen=Seen(patients=frozenset(splits.patients("train"))),
        chosen_by=Seen(patients=frozenset(splits.patients("validation"))),
    )
    classifiers.save(model, {}, folder)
    return folder


def trained(planes, splits):
    patients = set(splits.patients("train"))
    return [row for row in planes.rows if row.label in GAN_CLASSES and row.patient in patients]


def as_batch(planes, rows):
    return torch.from_numpy(np.stack([shrunk(image, SIDE) for image in planes.images(rows)])[:, None])


def check_figures(found, real_NF, fake_MF):
    mean, covariance = (lambda x: x.double().mean(0)), (lambda x: torch.cov(x.double().T, correction=0))
    fid = metrics.frechet_distance(mean(real_NF), covariance(real_NF), mean(fake_MF), covariance(fake_MF))
    assert found["fid"] == pytest.approx(fid, rel=1e-4, abs=1e-4)
    assert found["kid"] == pytest.approx(metrics.kernel_distance(real_NF, fake_MF), rel=1e-3, abs=1e-6)
    low, high = metrics.kernel_distance_interval(real_NF, fake_MF)
    assert found["kid_interval"] == pytest.approx([low, high], rel=1e-3, abs=1e-6)
    precision, recall = metrics.precision_recall(real_NF, fake_MF)
    assert (found["precision"], found["recall"]) == pytest.approx((precision, recall), abs=0.02)


def test_figures_on_features_of_the_users_are_those_of_stylegan2_ada(planes, splits, synthetic, tmp_path):
    uri = script(tmp_path / "pooled.pt", Pooled())
    found = judge_synthetic(Config(inception_uri=uri), planes, splits, synthetic, None, tmp_path / "kept")
    real_NF, fake_MF = (
        Pooled()(batch)
        for batch in (as_batch(planes, trained(planes, splits)), as_batch(synthetic, synthetic.rows))
    )
    check_figures(found["by_truncation"]["1.0"], real_NF, fake_MF)
    assert (found["features"], len(found["detector_digest"])) == ("pooled.pt", 64)
    assert found["floor"]["planes"]["kid"] < found["by_truncation"]["1.0"]["kid"]


def test_without_a_network_the_classifiers_last_layer_but_one_is_used(
    planes, splits, synthetic, classifier, tmp_path
):
    found = judge_synthetic(Config(), planes, splits, synthetic, classifier, tmp_path / "kept")
    model = classifiers.load(classifier)
    caught = []
    model.network.avgpool.register_forward_hook(lambda _, __, out: caught.append(out.flatten(1)))
    with torch.inference_mode():
        for rows, source in ((trained(planes, splits), planes), (synthetic.rows, synthetic)):
            grey_NHW = as_batch(source, rows)[:, 0].float() / 255
            model.network.eval()(classifiers.as_input(grey_NHW, model.mean, model.std))
    check_figures(found["by_truncation"]["1.0"], *caught)
    assert found["features"] == "the planes classifier of this run"
    assert any("biased" in caution for caution in found["cautions"])
    assert any("not comparable" in caution for caution in found["cautions"])
    assert json.loads((tmp_path / "kept/judged/judgement.json").read_text()) == found


def test_each_truncation_has_its_figures(planes, splits, tmp_path):
    pictures = [*seen_by(planes, splits, "train")[:15], *seen_by(planes, splits, "test")[:15]]
    half = write_images(tmp_path / "half", pictures, splits.patients("train"), SIDE, psi=0.5)
    with PlaneSetWriter(folder=tmp_path / "both", side=SIDE, seen=half.seen) as writer:
        for place, (row, image_HW) in enumerate(zip(half.rows, half.images(half.rows), strict=True)):
            writer.add(image_HW, row)
            if place < 3:
                writer.add(image_HW, replace(row, image=f"synthetic/whole{place}.png", truncation=1.0))
    uri = script(tmp_path / "pooled.pt", Pooled())
    both = type(half).open(tmp_path / "both")
    config = Config(inception_uri=uri, max_copy_rate=1.0)
    found = judge_synthetic(config, planes, splits, both, None, tmp_path / "kept")
    assert list(found["by_truncation"]) == ["0.5", "1.0"]
    assert found["by_truncation"]["0.5"]["fid"] > 0
    assert found["by_truncation"]["1.0"]["fid"] is None  # three images
    assert found["cautions"][0].startswith("FID of 3 images, ")
    copied = found["copies"]["by_truncation"]
    assert copied["1.0"] == {"images": 3, "copies": 3}
    assert copied["0.5"] == {"images": 30, "copies": found["copies"]["count"] - 3}


def test_equal_inputs_give_equal_bytes(planes, splits, synthetic, tmp_path):
    for name in ("a", "b"):
        judge_synthetic(Config(), planes, splits, synthetic, None, tmp_path / name)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_worst_pairs_are_a_picture(planes, splits, synthetic, tmp_path):
    judge_synthetic(Config(), planes, splits, synthetic, None, tmp_path)
    with Image.open(tmp_path / "judged/worst.png") as sheet:
        assert sheet.size[0] > 700 and sheet.size[1] > 400
        assert len(sheet.getcolors(256)) > 20


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_generator_that_saw_another_patient_is_refused(side, planes, splits, synthetic, tmp_path):
    seen = Seen(patients=frozenset([*splits.patients("train"), splits.patients(side)[0]]))
    leaked = replace(synthetic, seen=seen)
    with pytest.raises(InputError, match=rf"synthetic planes .*{splits.patients(side)[0]} \({side}\)"):
        judge_synthetic(Config(), planes, splits, leaked, None, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_classifier_that_saw_another_patient_is_refused(
    side, planes, splits, synthetic, classifier, tmp_path
):
    swapped = type(splits)(splits.folds, splits.sides | {splits.patients("train")[0]: side})
    innocent = replace(synthetic, seen=Seen(patients=frozenset(swapped.patients("train"))))
    with pytest.raises(InputError, match=r"classifier .* made from patients"):
        judge_synthetic(Config(), planes, swapped, innocent, classifier, tmp_path / "kept")


def test_empty_sets_are_refused(planes, splits, synthetic, tmp_path):
    with pytest.raises(InputError, match=r"synthetic planes .*: none; valid: at least one"):
        judge_synthetic(Config(), planes, splits, replace(synthetic, rows=[]), None, tmp_path)
    with pytest.raises(InputError, match="no coronal or sagittal plane of a training patient"):
        judge_synthetic(Config(), replace(planes, rows=[]), splits, synthetic, None, tmp_path)
    one = replace(planes, rows=trained(planes, splits)[:1])
    with pytest.raises(InputError, match="one plane of a training patient; valid: at least two"):
        judge_synthetic(Config(), one, splits, synthetic, None, tmp_path)


def test_wrong_feature_networks_are_refused_by_name(planes, splits, synthetic, tmp_path):
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"no network")
    flat = script(tmp_path / "flat.pt", Flat())
    for uri, words in (
        (str(tmp_path / "absent.pt"), "no such file"),
        (str(junk), "not readable"),
        (flat, r"gave \(64, 3, 32, 32\)"),
    ):
        with pytest.raises(InputError, match=f"^inception_uri={uri}: .*{words}"):
            judge_synthetic(Config(inception_uri=uri), planes, splits, synthetic, None, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_halves_of_patients_are_the_same_under_every_key():
    """Names are pseudonyms under a secret key, and results must not depend on it."""
    rows = [
        PlaneRow(image=f"{n}.png", label="coronal", patient=f"p{n // 4}", source="real") for n in range(24)
    ]
    renamed = [replace(row, patient=f"q{9 - int(row.patient[1:])}") for row in rows]
    for seed in range(4):
        expected, found = (fidelity.halves(some, seed)["patients"] for some in (rows, renamed))
        assert (found == expected).all() and 0 < found.sum() < len(rows)


def test_patients_are_halved_whole_and_planes_whosever_they_are():
    rows = [PlaneRow(image=f"{name}{k}", patient=name) for name in "abcdef" for k in range(6)]
    shares = {how: half_N.reshape(6, 6).mean(axis=1) for how, half_N in fidelity.halves(rows, 0).items()}
    assert sorted(shares["patients"]) == [0, 0, 0, 1, 1, 1]
    assert not set(shares["planes"]) <= {0, 1} and shares["planes"].mean() == pytest.approx(0.5)
