"""`python -m stylegan2_ada train|generate|dataset|import|export|metrics`; every setting is a flag."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import torch

from stylegan2_ada import checkpoint, dataset_tool, evaluate_network, official, weights
from stylegan2_ada.config import TrainingConfig
from stylegan2_ada.detector import load_detector
from stylegan2_ada.distributed import device_of, own_device, place
from stylegan2_ada.errors import CollapseError, DivergenceError, UsageError
from stylegan2_ada.features import MetricOptions
from stylegan2_ada.generate import add_arguments as declare_generate
from stylegan2_ada.generate import run as run_generate
from stylegan2_ada.networks import Architecture
from stylegan2_ada.run import OPTIONS, settled
from stylegan2_ada.training_loop import train
from stylegan2_ada.training_state import architecture_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 2 where its values cannot be used, 1 where training failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except (CollapseError, DivergenceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stylegan2_ada", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, does: str, declare: Callable[[argparse.ArgumentParser], None], **run: Any) -> None:
        command = commands.add_parser(name, help=does)
        declare(command)
        command.set_defaults(**run)

    add("train", "train, or go on with the same command's run", _declare_train, run=_train)
    add("generate", "write one PNG a seed", declare_generate, run=run_generate)
    add("dataset", "write a zip to train on", dataset_tool.add_arguments, run=dataset_tool.run)
    add("import", "read a published network", official.add_import_arguments)
    add("export", "write a network for the authors' code", official.add_export_arguments)
    add("metrics", "measure a network", evaluate_network.add_arguments, run=evaluate_network.run)
    return parser


def _declare_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, help="zip or folder of images")
    command.add_argument("--outdir", type=Path, required=True, help="folder of the run")
    command.add_argument("--members", type=Path, help="text file of names in the data; default: all images")
    command.add_argument("--resume", help="folder of a trained network to start from, or latest: go on")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--dry-run", action="store_true", help="print all settings and end")
    command.add_argument("--detector", type=Path, help="file that judges snapshots (.pt or .pt2)")
    command.add_argument("--detector-count", type=int, default=5000, help="generated images it judges")
    for setting in fields(TrainingConfig):
        name = "--" + setting.name.replace("_", "-")
        if setting.type is bool:
            command.add_argument(name, action=argparse.BooleanOptionalAction, default=setting.default)
            continue
        kind: Any = get_args(setting.type)[0] if isinstance(setting.type, UnionType) else setting.type
        kind = kind if isinstance(kind, type) else str
        command.add_argument(name, type=kind, default=setting.default, help="default %(default)s")


def _train(options: argparse.Namespace) -> None:
    config = TrainingConfig(**{f.name: getattr(options, f.name) for f in fields(TrainingConfig)})
    device, resume = device_of(options.device), _start(options)
    if options.dry_run:
        ranks = place()
        if ranks.first:
            print(_plan(config, resume, ranks=ranks.count, cuda=device.type == "cuda"))
        return
    members = options.members.read_text().split("\n") if options.members else None
    detector = options.detector and load_detector(
        options.detector, device=own_device(device), channels=config.channels
    )
    train(
        config, options.data, members and [name for name in members if name], options.outdir,
        resume=resume, afresh=options.resume != "latest", device=options.device, detector=detector,
        metric_options=MetricOptions(count=options.detector_count, kept=options.detector_count),
    )  # fmt: skip


def _start(options: argparse.Namespace) -> Path | None:
    """Return the folder of networks to start from; `latest` means that of the run in the outdir."""
    if options.resume != "latest":
        return options.resume and Path(options.resume)
    path = options.outdir / OPTIONS
    if not path.is_file() or not checkpoint.paths(options.outdir):
        raise UsageError(
            f"resume=latest: no checkpoint in {options.outdir}; valid: the outdir of a stopped run"
        )
    resume = json.loads(path.read_text())["resume"]
    return resume and Path(resume)


def _plan(config: TrainingConfig, resume: Path | None, *, ranks: int, cuda: bool) -> str:
    """Return every setting, and how many parameters the networks have; label layers are not among them."""
    done = settled(config, resume, _labels(resume), ranks=ranks, cuda=cuda)
    counts = _parameters(architecture_of(done), done.group)
    return f"{done.text()}\nparameters: generator {counts[0]:,}, discriminator {counts[1]:,}"


def _labels(resume: Path | None) -> int:
    return 0 if resume is None else weights.architecture_in(weights.read_info(resume)).labels


def _parameters(architecture: Architecture, group: int) -> tuple[int, ...]:
    with torch.device("meta"):  # nothing is allocated
        networks = architecture.generator(), architecture.discriminator(group)
    return tuple(sum(p.numel() for p in network.parameters()) for network in networks)


if __name__ == "__main__":
    sys.exit(main())
