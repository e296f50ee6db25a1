"""Images from seeds, and grids of images."""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylegan2_ada import devices
from stylegan2_ada.errors import UsageError, require
from stylegan2_ada.networks import LATENT, Generator, Noise
from stylegan2_ada.weights import load_generator

EVERY = "every"  # class
MOST_SEEDS = 2**24  # of one command


def latents(seeds: Sequence[int]) -> Tensor:
    """Return one latent per seed, N x Z, the same for a seed whatever its neighbours."""
    rows = [np.random.RandomState(_words(seed)).randn(LATENT) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).float()


def _words(seed: int) -> int | list[int]:
    """Return a seed as RandomState takes it: from 2**32 on, which it refuses, as 32-bit words, low first."""
    return seed if seed < 2**32 else [seed % 2**32, seed // 2**32]


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images from -1..1 to 0..255."""
    return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def generate(
    generator: Generator,
    seeds: Sequence[int],
    truncation_psi: float,
    batch: int,
    *,
    label: Tensor | None = None,  # K, of all images; needed where the generator is conditional
    noise: Noise = "const",
    cutoff: int | None = None,  # truncate so many of the first styles; None: all
) -> Iterator[NDArray[np.uint8]]:
    """Yield images of the seeds in their order, a batch at a time: N x H x W, or N x H x W x 3.

    Random noise depends on the seeds of an image's batch.
    """
    device = generator.mapping.w_avg.device
    for first in range(0, len(seeds), batch):
        some = seeds[first : first + batch]
        labels_NK = None if label is None else label.to(device).expand(len(some), -1)
        rng = torch.Generator(device).manual_seed(some[0] % 2**63)
        with torch.inference_mode():
            images = generator(
                latents(some).to(device), labels_NK, truncation=truncation_psi, cutoff=cutoff,
                noise=noise, rng=rng,
            )  # fmt: skip
        yield _channels_last(to_uint8(images))


def label_of(generator: Generator, text: str | None, *, classes: bool = True) -> Tensor | None:
    """Return the label that a user names, K: a class's number, or K numbers between commas.

    Where K is 1 the number is the label itself: one class alone would be no condition. A network that learnt
    from vectors (not `classes`) need never have seen the vector of one class.
    """
    count = generator.architecture.labels
    if text is None and count == 0:
        return None
    if text is None:
        raise UsageError(f"class: missing, this network has labels; valid: {_valid_labels(count, classes)}")
    try:
        numbers = [float(number) for number in (text or "").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == count > 0 and all(map(math.isfinite, torch.tensor(numbers).tolist())):
        return torch.tensor(numbers)
    if len(numbers) != 1 or count < 2 or not classes or numbers[0] not in range(count):
        raise UsageError(f"class={text}: not a label of this network; valid: {_valid_labels(count, classes)}")
    return torch.eye(count)[int(numbers[0])]


def _valid_labels(count: int, classes: bool) -> str:
    several = f"{count} numbers between commas" if count > 1 else "a number"
    if count == 0:
        return "none, it has no labels"
    return f"0 to {count - 1}, {EVERY}, or {several}" if classes and count > 1 else several


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `generate` to a parser."""
    parser.add_argument("--network", type=Path, required=True, help="folder of a trained network")
    parser.add_argument("--outdir", type=Path, required=True)
    parser.add_argument("--seeds", required=True, help="such as 0,4,10-19")
    parser.add_argument("--trunc", type=float, default=1.0, help="truncation psi, default %(default)s")
    parser.add_argument("--cutoff", type=int, help="truncate so many of the first styles; default: all")
    parser.add_argument(
        "--class",
        dest="label",
        help="class number, label values such as 0,0.5,1, or 'every' for one folder per class",
    )
    parser.add_argument("--noise", default="const", help="const, random or none; default %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="default %(default)s")
    parser.add_argument("--device", default="auto", help=devices.HELP)


def run(options: argparse.Namespace) -> None:
    """Write seedNNNN.png for every seed, and every class where all are asked for."""
    _check(options)
    seeds = seeds_of(options.seeds)
    generator, info = load_generator(options.network, options.device)
    styles = generator.mapping.styles
    if options.cutoff is not None and not 0 <= options.cutoff <= styles:
        raise UsageError(
            f"cutoff={options.cutoff}: not possible; valid: 0 to {styles}, this network's styles"
        )
    for folder, label in _labels(generator, info, options.label, options.outdir).items():
        images = generate(
            generator, seeds, options.trunc, options.batch, label=label, noise=options.noise,
            cutoff=options.cutoff,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        for seed, image in zip(seeds, chain.from_iterable(images), strict=True):
            Image.fromarray(image).save(folder / f"seed{seed:04}.png")


def _labels(
    generator: Generator, info: Mapping[str, Any], text: str | None, outdir: Path
) -> Mapping[Path, Tensor | None]:
    """Return the label of all images in a folder: of one folder, or of one for each class."""
    # Imported networks do not say whether their labels are classes.
    count, classes = generator.architecture.labels, info.get("labels_are_classes", True)
    if text != EVERY or count < 2 or not classes:
        return {outdir: label_of(generator, text, classes=classes)}
    return {outdir / f"class{number}": label for number, label in enumerate(torch.eye(count))}


def _check(options: argparse.Namespace) -> None:
    require(options.noise in get_args(Noise), "noise", options.noise, ", ".join(get_args(Noise)))
    require(options.batch >= 1, "batch", options.batch, "1 or more")
    require(math.isfinite(options.trunc), "trunc", options.trunc, "a finite number, such as 0.7")


def seeds_of(text: str) -> list[int]:
    """Return the seeds that a text such as 0,4,10-19 lists."""
    try:
        parts = [part.partition("-") for part in text.split(",")]
        ranges = [range(int(low), int(high or low) + 1) for low, _, high in parts]
    except ValueError:
        ranges = []
    if not ranges or not all(ranges) or sum(seeds.stop - seeds.start for seeds in ranges) > MOST_SEEDS:
        valid = f"up to {MOST_SEEDS} numbers and ranges, such as 0,4,10-19"
        raise UsageError(f"seeds={text[:80]}: no list of seeds; valid: {valid}")
    seeds = [seed for some in ranges for seed in some]
    if max(seeds) >= 2**64:
        raise UsageError(f"seeds={text[:80]}: {max(seeds)} is too large; valid: 0 to {2**64 - 1}")
    return seeds


def save_grid(images: Tensor, path: Path, columns: int = 8) -> None:
    """Write uint8 images, N x C x H x W, as one PNG, row by row; an unfilled row is left out."""
    columns = min(columns, len(images))
    rows = len(images) // columns
    n, channels, height, width = images[: rows * columns].shape
    tiled = images[:n].reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    picture = _channels_last(tiled.reshape(1, channels, rows * height, columns * width))[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _channels_last(images: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = images.permute(0, 2, 3, 1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
