"""How good a generator is: its images against real ones, by the features of a detector that is named beside.

`python -m stylegan2_ada metrics` prints `evaluate`; a training run asks an `Evaluator` at every snapshot.
"""

import argparse
import json
import sys
from dataclasses import asdict, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import get_args

from torch import Tensor

from stylegan2_ada import dataset, metrics
from stylegan2_ada.decoding import Fit
from stylegan2_ada.detector import Detector, load_detector
from stylegan2_ada.devices import HELP, device_of
from stylegan2_ada.features import (
    FeatureStatistics,
    MetricOptions,
    statistics_of,
    statistics_of_dataset,
    statistics_of_generator,
)
from stylegan2_ada.networks import Generator
from stylegan2_ada.weights import load_generator

FEW = 5000  # real images below which FID says more about their number than about the generator
PUBLISHED = "inception-2015-12-05"  # the detector of published FID and KID, by its file's name


class Evaluator:
    """Scores generators against one set of real images; equal generators get equal scores.

    No random state outside it is touched. The real images' features are computed once.
    """

    def __init__(
        self,
        detector: Detector,
        images_NCHW: Tensor,  # uint8
        *,
        options: MetricOptions,
        labels_NK: Tensor | None = None,  # of the images; a conditional generator's are drawn from them
        cache: Path | None = None,  # folder for the real images' features
    ) -> None:
        self.detector = detector
        self.images_NCHW = images_NCHW
        self.options = options
        self.labels_NK = labels_NK
        self.cache = cache

    @property
    def digest(self) -> str:
        """What two evaluators share whose scores of the same real images can be compared."""
        return f"{self.detector.digest} {json.dumps(asdict(self.options))}"

    def try_detector(self) -> None:
        """Show the detector two images; UsageError where it cannot take them, before anything long begins."""
        statistics_of([self.images_NCHW[:2]], self.detector, kept=2)

    @cached_property
    def real(self) -> FeatureStatistics:
        """The statistics of the real images."""
        return statistics_of_dataset(self.images_NCHW, self.detector, self.options, cache=self.cache)

    def fake(self, generator: Generator) -> FeatureStatistics:
        """Return the statistics of a generator's images."""
        return statistics_of_generator(generator, self.detector, self.options, labels_NK=self.labels_NK)

    def __call__(self, generator: Generator) -> dict[str, float]:
        """Return fid and kid of a generator; a training run passes the one with averaged weights (G_ema)."""
        return self.distances(self.fake(generator))

    def distances(self, fake: FeatureStatistics) -> dict[str, float]:
        """Return fid and kid of the statistics of a generator's images."""
        device, seed = fake.features_NF.device, self.options.seed
        mean_F, covariance_FF = (x.to(device) for x in self.real.moments())
        fid = metrics.frechet_distance(mean_F, covariance_FF, *fake.moments())
        kid = metrics.kernel_distance(self.real.features_NF.to(device), fake.features_NF, seed=seed)
        return {"fid": fid, "kid": kid}


def evaluate(
    generator: Generator,
    detector: Detector,
    images_NCHW: Tensor,  # uint8
    *,
    options: MetricOptions,
    labels_NK: Tensor | None = None,
    cache: Path | None = None,
    classifier: Detector | None = None,  # class probabilities in place of features, for the inception score
) -> dict[str, str | float]:
    """Return every figure of a generator, with the detector's name and hash and what to know of them."""
    evaluator = Evaluator(detector, images_NCHW, options=options, labels_NK=labels_NK, cache=cache)
    evaluator.try_detector()
    if classifier is not None:  # as early
        metrics.require_probabilities(statistics_of([images_NCHW[:2]], classifier, kept=2).features_NF)
    fake = evaluator.fake(generator)
    return {
        "detector": detector.name,
        "detector_sha256": detector.digest,
        "real_images": evaluator.real.count,
        "generated_images": fake.count,
        "seed": options.seed,
        "truncation": options.truncation,
        **evaluator.distances(fake),
        **_further(evaluator.real.features_NF.to(fake.features_NF.device), fake.features_NF, options.seed),
        **({} if classifier is None else _inception_score(generator, classifier, options, labels_NK)),
        "note": _note(detector.name, evaluator.real.count),
    }


def _further(real_NF: Tensor, fake_MF: Tensor, seed: int) -> dict[str, float]:
    low, high = metrics.kernel_distance_interval(real_NF, fake_MF, seed=seed)
    precision, recall = metrics.precision_recall(real_NF, fake_MF)
    cosines_M, _ = metrics.nearest(real_NF, fake_MF)
    return {
        "kid_low": low,  # of an interval of 95 %
        "kid_high": high,
        "precision": precision,
        "recall": recall,
        "nearest_cosine_max": float(cosines_M.max()),
        "memorised_share": metrics.memorised_share(real_NF, cosines_M),
    }


def _inception_score(
    generator: Generator, classifier: Detector, options: MetricOptions, labels_NK: Tensor | None
) -> dict[str, float]:
    every = replace(options, kept=options.count)
    probabilities = statistics_of_generator(generator, classifier, every, labels_NK=labels_NK).features_NF
    score, deviation = metrics.inception_score(probabilities)
    return {"inception_score": score, "inception_score_deviation": deviation}


def _note(detector: str, count: int) -> str:
    notes = []
    if count < FEW:
        notes.append(f"fewer than {FEW} real images: judge by kid, which is unbiased, not by fid")
    if not detector.startswith(PUBLISHED):
        notes.append("features of another detector: not comparable with published FID")
    return "; ".join(notes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `metrics` to a parser."""
    parser.add_argument("--network", type=Path, required=True, help="folder of a trained network")
    parser.add_argument("--data", type=Path, required=True, help="zip or folder of all real images")
    parser.add_argument("--fit", choices=get_args(Fit), default="refuse",
                        help="what to do with images that are not square; default %(default)s")  # fmt: skip
    parser.add_argument(
        "--detector", type=Path, required=True, help="TorchScript (.pt) or exported (.pt2) file"
    )
    parser.add_argument("--detector-channels", type=int, default=3, help="default %(default)s")
    parser.add_argument(
        "--inception-score",
        action="store_true",
        help="too; the detector's other output must be class probabilities",
    )
    parser.add_argument("--cache", type=Path, help="folder for the real images' features")
    parser.add_argument("--device", default="auto", help=HELP)
    for setting in fields(MetricOptions):
        if setting.name != "noise":  # figures are of random noise
            parser.add_argument(
                f"--{setting.name}", type=type(setting.default), default=setting.default,
                help="default %(default)s",
            )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Print the figures of a network as JSON."""
    device = device_of(options.device)
    settings = {f.name: getattr(options, f.name) for f in fields(MetricOptions) if f.name != "noise"}
    metric_options = MetricOptions(**settings)
    read = partial(load_detector, options.detector, device=device, channels=options.detector_channels)
    generator, _ = load_generator(options.network, options.device)
    architecture = generator.architecture
    real = dataset.load(
        options.data, resolution=architecture.resolution, channels=architecture.channels, mirror=False,
        use_labels=architecture.labels > 0, fit=options.fit,
    )  # fmt: skip
    figures = evaluate(
        generator, read(), real.images, options=metric_options, labels_NK=real.labels, cache=options.cache,
        classifier=read(output="probabilities") if options.inception_score else None,
    )  # fmt: skip
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
