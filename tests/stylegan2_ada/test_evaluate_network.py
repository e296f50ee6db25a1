import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stylegan2_ada import UsageError, weights
from stylegan2_ada.dataset import load
from stylegan2_ada.detector import load_detector
from stylegan2_ada.evaluate_network import Evaluator, add_arguments, evaluate, run
from stylegan2_ada.features import MetricOptions, generated
from stylegan2_ada.metrics import inception_score
from stylegan2_ada.networks import Architecture, Generator
from torch import Tensor

from tests.stylegan2_ada.archives import labels_file, png, write_archive, write_zip
from tests.stylegan2_ada.detectors import FeaturesOnly, Pooled, PooledDetector, write_program, write_script

OPTIONS = MetricOptions(count=60, batch=16)
ARCHITECTURE = Architecture(resolution=8, channels=1, channel_base=64)


def generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return ARCHITECTURE.generator().eval()


def images_of(network: Generator, seed: int = 1) -> Tensor:
    """Return images of the network's own distribution, by other latents than those of a score."""
    return torch.cat(list(generated(network, replace(OPTIONS, seed=seed))))


def test_the_generator_of_the_real_images_is_the_better_one() -> None:
    good, bad = generator(), generator(7)
    evaluator = Evaluator(PooledDetector(), images_of(good), options=OPTIONS)
    scores, others = evaluator(good), evaluator(bad)
    assert set(scores) == {"fid", "kid"}
    assert scores["kid"] < others["kid"] and scores["fid"] < others["fid"]


def test_scores_repeat_and_touch_no_random_state() -> None:
    network, detector = generator(), PooledDetector()
    real = images_of(network)
    states = torch.get_rng_state(), str(np.random.get_state())
    evaluator = Evaluator(detector, real, options=OPTIONS)
    first = evaluator(network)
    assert first == evaluator(network) == Evaluator(PooledDetector(), real, options=OPTIONS)(network)
    assert detector.shown == 60 + 2 * 60  # the real images once
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == str(np.random.get_state())
    assert all(parameter.requires_grad for parameter in network.parameters())  # as it was


def test_a_report_holds_every_figure_and_what_they_are_of() -> None:
    network, detector = generator(), PooledDetector()
    report = evaluate(network, detector, images_of(network), options=OPTIONS)
    assert (report["detector"], report["detector_sha256"]) == (detector.name, detector.digest)
    assert (report["real_images"], report["generated_images"]) == (60, 60)
    low, kid, high, precision, recall = (
        float(report[name]) for name in ("kid_low", "kid", "kid_high", "precision", "recall")
    )
    assert low <= kid <= high and low < 0 < high
    assert precision > 0.5 and recall > 0.5 and float(report["memorised_share"]) < 0.5
    note = str(report["note"])
    assert "judge by kid" in note and "not comparable with published FID" in note


def test_a_generator_of_copies_is_found_out() -> None:
    network = generator()
    real = images_of(network, seed=OPTIONS.seed)  # the very latents and noise of the score
    report = evaluate(network, PooledDetector(), real, options=OPTIONS)
    assert report["memorised_share"] == 1 and report["nearest_cosine_max"] == pytest.approx(1)
    assert report["precision"] == report["recall"] == 1


def test_published_detectors_need_no_note_on_large_sets() -> None:
    detector = PooledDetector()
    detector.name = "inception-2015-12-05.pt"
    options = replace(OPTIONS, kept=60, batch=1000)
    report = evaluate(generator(), detector, torch.zeros(5000, 1, 8, 8, dtype=torch.uint8), options=options)
    assert report["note"] == "" and report["real_images"] == 5000


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = generator()
    weights.save(tmp_path / "network", network, ARCHITECTURE.discriminator(4), ARCHITECTURE, {})
    write_archive(tmp_path / "real.zip", count=30)
    program = write_program(tmp_path / "pooled.pt2", FeaturesOnly())
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = (
        f"--count 40 --batch 16 --device cpu --cache {tmp_path / 'cache'} --network {tmp_path / 'network'}"
    )
    run(parser.parse_args([*flags.split(), "--data", str(tmp_path / "real.zip"), "--detector", str(program)]))
    report = json.loads(capsys.readouterr().out)
    assert (report["real_images"], report["generated_images"]) == (30, 40)
    assert report["detector"] == "pooled.pt2" and len(list((tmp_path / "cache").iterdir())) == 1


def test_the_inception_score_is_that_of_the_detectors_probabilities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = generator()
    weights.save(tmp_path / "network", network, ARCHITECTURE.discriminator(4), ARCHITECTURE, {})
    write_archive(tmp_path / "real.zip", count=30)
    script = write_script(tmp_path / "pooled.pt", Pooled())
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    paths = ["--network", tmp_path / "network", "--data", tmp_path / "real.zip", "--detector", script]
    flags = ["--count", "40", "--batch", "16", "--device", "cpu", "--inception-score", "--kept", "20"]
    run(parser.parse_args([*map(str, paths), *flags]))
    report = json.loads(capsys.readouterr().out)
    images = torch.cat(list(generated(network, replace(OPTIONS, count=40))))
    expected = inception_score(load_detector(script, output="probabilities")(images))
    figures = report["inception_score"], report["inception_score_deviation"]
    assert figures == pytest.approx(expected, rel=1e-3) and figures[0] > 1  # of all, not of those kept


def test_a_conditional_network_is_measured_by_the_labels_of_images_that_are_cropped_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = replace(ARCHITECTURE, labels=3)
    weights.save(tmp_path / "network", a.generator(), a.discriminator(4), a, {})
    wide = np.random.default_rng(0).integers(0, 256, (30, 8, 12))
    files = {f"{number:02}.png": png(image) for number, image in enumerate(wide)}
    data = write_zip(tmp_path / "a.zip", files | labels_file([[name, int(name[1]) % 3] for name in files]))
    script, parser = write_script(tmp_path / "pooled.pt", Pooled()), argparse.ArgumentParser()
    add_arguments(parser)
    paths = ["--network", tmp_path / "network", "--data", data, "--detector", script]
    flags = [*map(str, paths), "--count=60", "--batch=16", "--device=cpu", "--inception-score"]
    with pytest.raises(UsageError, match="12 x 8 pixels; valid: square images, or fit=crop"):
        run(parser.parse_args(flags))
    run(parser.parse_args([*flags, "--fit=crop", "--truncation=0.7", "--seed=3", "--kept=50"]))
    real = load(data, resolution=8, channels=1, mirror=False, use_labels=True, fit="crop")
    judges = [load_detector(script, output=output) for output in ("features", "probabilities")]
    network = weights.load_generator(tmp_path / "network", "cpu")[0]
    options = replace(OPTIONS, truncation=0.7, seed=3, kept=50)
    expected = evaluate(
        network, judges[0], real.images, options=options, labels_NK=real.labels, classifier=judges[1]
    )
    assert json.loads(capsys.readouterr().out) == expected


def test_a_classifier_without_probabilities_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, features = generator(), PooledDetector()  # as a file without another output
    monkeypatch.delattr(Evaluator, "fake")
    with pytest.raises(UsageError, match=r"^inception_score: .*valid: class probabilities"):
        evaluate(network, PooledDetector(), images_of(network), options=OPTIONS, classifier=features)


@pytest.mark.gpu
def test_a_gpu_gives_the_figures_of_a_cpu() -> None:
    network, options = generator(), replace(OPTIONS, noise="const")
    real = images_of(network)
    on_cpu = evaluate(network, PooledDetector(), real, options=options)
    detector = PooledDetector()
    on_gpu = evaluate(network.cuda(), detector, real.cuda(), options=options)
    for name in ("fid", "kid", "kid_low", "kid_high", "nearest_cosine_max"):
        assert on_gpu[name] == pytest.approx(on_cpu[name], rel=0.05, abs=0.002), name
