"""`python -m stylegan2_ada train|generate`; every setting is a flag."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from PIL import Image

from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import image_members
from stylegan2_ada.errors import UsageError
from stylegan2_ada.generate import generate
from stylegan2_ada.training_loop import train
from stylegan2_ada.weights import load_generator


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 2 where its values cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stylegan2_ada", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train", help="train, or go on with the same command's run")
    command.set_defaults(run=_train)
    command.add_argument("--data", type=Path, required=True, help="zip of square images")
    command.add_argument("--outdir", type=Path, required=True, help="folder of the run")
    command.add_argument("--members", type=Path, help="text file of names in the zip; default: all images")
    command.add_argument("--resume", type=Path, help="folder of a trained network to start from")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--dry-run", action="store_true", help="print all settings and end")
    for setting in fields(TrainingConfig):
        name = "--" + setting.name.replace("_", "-")
        if setting.type is bool:
            command.add_argument(name, action=argparse.BooleanOptionalAction, default=setting.default)
        else:
            command.add_argument(name, type=setting.type, default=setting.default, help="default %(default)s")
    command = commands.add_parser("generate", help="write one PNG a seed")
    command.set_defaults(run=_generate)
    command.add_argument("--network", type=Path, required=True, help="folder of a trained network")
    command.add_argument("--outdir", type=Path, required=True)
    command.add_argument("--seeds", type=_seeds, required=True, help="such as 0,4,10-19")
    command.add_argument("--trunc", type=float, default=1.0, help="truncation psi, default %(default)s")
    command.add_argument("--batch", type=int, default=16)
    return parser


def _seeds(text: str) -> list[int]:
    parts = (part.partition("-") for part in text.split(","))
    return [seed for low, _, high in parts for seed in range(int(low), int(high or low) + 1)]


def _train(options: argparse.Namespace) -> None:
    config = TrainingConfig(**{f.name: getattr(options, f.name) for f in fields(TrainingConfig)})
    logging.info("%s", derived(config, transfer=options.resume is not None).text())
    if options.dry_run:
        return
    members = options.members.read_text().split("\n") if options.members else image_members(options.data)
    train(
        config, options.data, [name for name in members if name], options.outdir,
        resume=options.resume, device=options.device,
    )  # fmt: skip


def _generate(options: argparse.Namespace) -> None:
    generator, _ = load_generator(options.network)
    options.outdir.mkdir(parents=True, exist_ok=True)
    seeds = iter(options.seeds)
    for images in generate(generator, options.seeds, options.trunc, options.batch):
        for image in images:
            Image.fromarray(image).save(options.outdir / f"seed{next(seeds):04}.png")


if __name__ == "__main__":
    sys.exit(main())
