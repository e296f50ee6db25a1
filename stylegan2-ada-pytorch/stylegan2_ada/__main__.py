"""`python -m stylegan2_ada train|generate|dataset|import|export|metrics`; every setting is a flag."""

import argparse
import inspect
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, get_args

import torch

from stylegan2_ada import checkpoint, dataset_tool, devices, evaluate_network, official, weights
from stylegan2_ada.config import TrainingConfig
from stylegan2_ada.detector import check_detector, load_detector
from stylegan2_ada.devices import computed_in, device_of, own_device
from stylegan2_ada.distributed import place
from stylegan2_ada.errors import CollapseError, DivergenceError, Stopped, UsageError
from stylegan2_ada.features import MOST_IMAGES, MetricOptions
from stylegan2_ada.generate import add_arguments as declare_generate
from stylegan2_ada.generate import run as run_generate
from stylegan2_ada.networks import Architecture
from stylegan2_ada.run import require_judge, settled
from stylegan2_ada.run_folder import Begin, recorded
from stylegan2_ada.training_loop import train
from stylegan2_ada.training_state import architecture_of

_ALLOCATOR = "DefaultCPUAllocator: "  # what torch says before that a CPU's memory is full


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status, every error said in one line.

    The status is 2 where a value or file cannot be used, 1 where training failed, 143 where SIGTERM ended it,
    and 130 where Ctrl-C did.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    devices.keep_freed_memory()
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except (CollapseError, DivergenceError) as error:
        return _told(error, 1)
    except (UsageError, OSError) as error:
        return _told(error, 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        return _told(error, 2)
    except Stopped as stopped:
        return int(stopped.code or 0)
    except KeyboardInterrupt:  # before a training's first step, or of another command
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130
    return 0


def _told(error: Exception, status: int) -> int:
    print(_line(error), file=sys.stderr)
    return status


def _is_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _ALLOCATOR in str(error)


def _line(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError):
        what = error if error.filename is None else f"{error.filename}: {error.strerror}"
        return f"{what}; valid: a place that can be read and written, with room"
    if _is_of_memory(error):
        reason = str(error).rpartition(_ALLOCATOR)[2].strip().partition("\n")[0]
        return f"out of memory ({reason}); valid: smaller networks, a smaller batch, or batch_gpu"
    return " ".join(str(error).split("\n"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse a command line as all other values are refused."""
        raise UsageError(f"{message}; valid: see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="stylegan2_ada", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, does: str, declare: Callable[[argparse.ArgumentParser], None], **run: Any) -> None:
        command = commands.add_parser(name, help=does, allow_abbrev=False)
        declare(command)
        command.set_defaults(**run)

    add("train", "train, or go on with the same command's run", _declare_train, run=_train)
    add("generate", "write one PNG per seed", declare_generate, run=run_generate)
    add("dataset", "write a zip to train on", dataset_tool.add_arguments, run=dataset_tool.run)
    add("import", "read a published network", official.add_import_arguments)
    add("export", "write a network for the authors' code", official.add_export_arguments)
    add("metrics", "measure a network", evaluate_network.add_arguments, run=evaluate_network.run)
    return parser


def _declare_train(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Unless its help says otherwise, 0 or None means: derived from the other settings."
        " --dry-run prints the derived values."
    )
    command.add_argument("--data", type=Path, required=True, help="zip or folder of images")
    command.add_argument("--outdir", type=Path, required=True, help="folder of the run, and of no other")
    command.add_argument("--members", type=Path, help="text file of names in the data; default: all images")
    command.add_argument("--resume", help="folder of a trained network to start from, or latest: go on")
    command.add_argument("--start-over", action="store_true", help="remove the run in the outdir, and begin")
    command.add_argument("--device", default="auto", help=devices.HELP)
    command.add_argument("--dry-run", action="store_true", help="print all settings and end, the data unread")
    command.add_argument("--detector", type=Path, help="file that judges snapshots (.pt or .pt2)")
    command.add_argument("--detector-channels", type=int, default=3,
                         help="that it takes, grey images repeated; default %(default)s")  # fmt: skip
    command.add_argument("--detector-count", type=int, default=5000,
                         help="generated images it judges; default %(default)s")  # fmt: skip
    said = _explained()
    for setting in fields(TrainingConfig):
        name = "--" + setting.name.replace("_", "-")
        about = said.get(setting.name, "") + "; default %(default)s"
        if setting.type is bool:
            action = argparse.BooleanOptionalAction
            command.add_argument(name, action=action, default=setting.default, help=about)
            continue
        kind: Any = get_args(setting.type)[0] if isinstance(setting.type, UnionType) else setting.type
        kind = kind if isinstance(kind, type) else str
        command.add_argument(name, type=kind, default=setting.default, help=about)


def _explained() -> dict[str, str]:
    """Return what the comments beside the settings say of them: they are explained there alone."""
    found = re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(TrainingConfig), re.MULTILINE)
    return {name: text.replace("%", "%%") for name, text in found}


def _train(options: argparse.Namespace) -> None:
    config = TrainingConfig(**{f.name: getattr(options, f.name) for f in fields(TrainingConfig)})
    require_judge(config, judged=options.detector is not None)
    device, resume, begin = device_of(options.device), _start(options), _begin(options)
    judged = _metric_options(options.detector_count)
    members = None if options.members is None else _names(options.members)
    if options.detector:
        check_detector(options.detector, options.detector_channels)
    if options.dry_run:
        ranks = place()
        if ranks.first:
            print(_plan(config, resume, ranks=ranks.count, device=device))
        return
    detector = options.detector and load_detector(
        options.detector, device=own_device(device), channels=options.detector_channels
    )
    train(
        config, options.data, members, options.outdir, resume=resume, begin=begin, device=options.device,
        detector=detector, metric_options=judged,
    )  # fmt: skip


def _metric_options(count: int) -> MetricOptions:
    if not 1 <= count <= MOST_IMAGES:
        raise UsageError(f"detector_count={count}: not possible; valid: 1 to {MOST_IMAGES}")
    return MetricOptions(count=count, kept=count)


def _names(path: Path) -> list[str]:
    try:
        return [name for name in path.read_text().split("\n") if name]
    except UnicodeDecodeError as error:
        raise UsageError(
            f"members={path}: no text ({error}); valid: a text file with one name per line"
        ) from error


def _begin(options: argparse.Namespace) -> Begin:
    if options.start_over and options.resume == "latest":
        raise UsageError("start_over: resume=latest goes on; valid: one of the two")
    return "over" if options.start_over else "never" if options.resume == "latest" else "if needed"


def _start(options: argparse.Namespace) -> Path | None:
    """Return the folder of networks to start from; `latest` means that of the run in the outdir."""
    if options.resume != "latest":
        return None if options.resume is None else Path(options.resume)
    there = recorded(options.outdir)
    if there is None or not checkpoint.paths(options.outdir):
        raise UsageError(
            f"resume=latest: no checkpoint in {options.outdir}; valid: the outdir of a stopped run"
        )
    resume = there.get("resume")
    return None if resume is None else Path(resume)


def _plan(config: TrainingConfig, resume: Path | None, *, ranks: int, device: torch.device) -> str:
    """Return every setting, the type that blocks of `dtype` compute in here, and the numbers of parameters.

    Label layers are not among them.
    """
    done = settled(config, resume, _labels(config, resume), ranks=ranks, cuda=device.type == "cuda")
    counts = _parameters(architecture_of(done), done.group)
    computed = str(computed_in(done.dtype, device)).removeprefix("torch.")
    parameters = f"parameters: generator {counts[0]:,}, discriminator {counts[1]:,}"
    return f"{done.text()}\nblocks of {done.dtype} compute in: {computed}\n{parameters}"


def _labels(config: TrainingConfig, resume: Path | None) -> int:
    """Return how long the labels must be: the data, which would tell, are unread."""
    if resume is None or not config.cond:
        return 0
    if labels := weights.architecture_in(weights.read_info(resume)).labels:
        return labels
    raise UsageError(f"cond=True: {resume} knows no labels; valid: cond=False, or a conditional network")


def _parameters(architecture: Architecture, group: int) -> tuple[int, ...]:
    with torch.device("meta"):  # nothing is allocated
        networks = architecture.generator(), architecture.discriminator(group)
    return tuple(sum(p.numel() for p in network.parameters()) for network in networks)


if __name__ == "__main__":
    sys.exit(main())
