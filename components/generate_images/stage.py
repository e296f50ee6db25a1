"""Synthetic planes: seeds times truncations, as a PlaneSet that inherits its generator's patients."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import stylegan2_ada

from components.generate_images import truncations
from components.shared.accelerator import accelerator
from components.shared.faults import InputError
from components.shared.planes import SYNTHETIC, PlaneRow, PlaneSetWriter
from components.shared.progress import Progress, silent
from components.shared.splits import TRAIN, Splits
from components.shared.weights import GENERATOR, known_seen
from components.train_gan.stage import input_errors


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many images, and how far they are drawn towards the mean; the defaults are the notebooks'."""

    truncations: Sequence[float] = (0.5, 1.0)
    images: int = 16000  # in all, divided over the truncations
    seed: int = 0  # each takes latent seeds of its own, the same at every truncation
    batch: int = 64


def generate_images(
    config: Config, generator: Path, out: Path, progress: Progress = silent
) -> Mapping[str, int]:
    """Write a PlaneSet of synthetic planes into out and return its counts by truncation."""
    counts = count_by_truncation(config)
    with input_errors():
        network, info = stylegan2_ada.load_generator(generator, str(accelerator()))
    seen = known_seen(info, generator.name)
    settings = asdict(config) | {"generator": info["digest"]}
    writer = PlaneSetWriter(folder=out, side=info["resolution"], settings=settings, seen=seen)
    first, done = config.seed * max(counts.values()), 0  # the same seeds at each truncation
    with writer:
        for truncation, count in counts.items():
            seeds = range(first, first + count)
            for seed, image_HW in zip(seeds, _images(network, seeds, truncation, config.batch), strict=True):
                writer.add(image_HW, _row(truncation, seed, info["digest"]))
                done += 1
                progress(done, config.images)
    return {f"psi{truncation:.2f}": count for truncation, count in counts.items()}


def refuse_measured(generator: Path, splits: Splits) -> None:
    """Refuse a generator that was trained on a patient whom classifiers are measured on."""
    about = json.loads((generator / GENERATOR).read_text())
    what = f"generator {about['digest'][:12]}"
    splits.require_only((TRAIN,), known_seen(about, what), what)


def count_by_truncation(config: Config) -> Mapping[float, int]:
    """Divide the images over the truncations, the rest going to the first ones."""
    psis = config.truncations
    if not truncations.are_usable(psis):
        raise InputError(f"truncations={list(psis)}: not usable; valid: {truncations.VALID}")
    if config.images < len(psis):
        raise InputError(f"images={config.images}: valid: at least {len(psis)}, one per truncation")
    if not 0 <= config.seed < 2**31:
        raise InputError(f"seed={config.seed}: valid: 0 to {2**31 - 1}")
    each, rest = divmod(config.images, len(psis))
    return {psi: each + (k < rest) for k, psi in enumerate(psis)}


def _images(network: Any, seeds: Sequence[int], truncation: float, batch: int) -> Iterator[Any]:
    for images_NHW in stylegan2_ada.generate(network, seeds, truncation, batch):
        yield from images_NHW


def _row(truncation: float, seed: int, digest: str) -> PlaneRow:
    return PlaneRow(
        image=f"synthetic/psi{truncation:.2f}_seed{seed:06}.png",
        source=SYNTHETIC,
        seed=seed,
        truncation=truncation,
        generator=digest,
    )
