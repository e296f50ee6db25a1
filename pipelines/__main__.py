"""The command line: python -m pipelines compile | run | simulate | rounds | upload | submit | schedule."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from components.shared import storage
from components.shared.faults import AwayError, InputError, shown
from components.shared.images import BAKED
from components.shared.phantom import simulate_patients
from components.shared.pseudonyms import is_pseudonym
from components.validate_parameters.places import IN_IMAGES
from pipelines import local, profiles, rounds, schedule, submit
from pipelines.catalogue import PIPELINES
from pipelines.compile import GPU_NODES, PULL_POLICIES, SPOT_GKE, Options, compile_all
from pipelines.submission import parse, with_absolute_paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status. A mistake of the caller costs one line, not a traceback."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (InputError, AwayError, local.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {_told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _told(error: OSError) -> str:
    """Return in one line what the system refused."""
    if error.strerror is None:  # one of ours, or of a library
        return " ".join(str(error).split())
    place = "" if error.filename is None else f"{shown(error.filename)}: "
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{place}{error.strerror}; valid: a folder, where a file lies now"
    return f"{place}{error.strerror}; valid: a place that this user may use, on a disk with room"


def _folder(text: str) -> Path:
    """Return the folder that an option names: an empty one would be this one, which nobody means."""
    if not text:
        raise argparse.ArgumentTypeError("empty; valid: the name of a folder, '.' for this one")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    commands = parser.add_subparsers(
        required=True, metavar="compile|run|simulate|rounds|upload|submit|schedule"
    )
    compiling = commands.add_parser("compile", help="write the pipelines' YAML for a cluster")
    compiling.add_argument("--to", type=_folder, default=Path("build"), help="folder (default: build)")
    _add_options(compiling)
    compiling.set_defaults(command=_compile)
    running = commands.add_parser("run", help="run a pipeline on this machine")
    running.add_argument("pipeline", choices=sorted(PIPELINES))
    running.add_argument(
        "--root", type=_folder, required=True, help="folder for state, artifacts and the report"
    )
    running.add_argument(
        "--profile", choices=sorted(profiles.PROFILES), default="cluster", help="set of values"
    )
    running.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="one parameter")
    running.set_defaults(command=_run)
    simulating = commands.add_parser("simulate", help="make simulated volumes to try the suite with")
    simulating.add_argument("folder", type=_folder)
    simulating.add_argument("--patients", type=int, default=8)
    simulating.add_argument("--seed", type=int, default=0)
    simulating.add_argument(
        "--name", default="sim", help="what the patients' names begin with (default: sim)"
    )
    simulating.set_defaults(command=_simulate)
    submit.add_commands(commands)
    schedule.add_command(commands)
    rounds.add_command(commands)
    return parser


def _add_options(compiling: argparse.ArgumentParser) -> None:
    """Add how the YAML is fitted to a cluster, as pipelines/compile.py explains it."""
    add = compiling.add_argument
    add("--registry", default="", help="prefix of the images, e.g. europe-docker.pkg.dev/p/r")
    add("--tag", default="", help="tag of the images (default: the version)")
    add("--image-cpu", default="", metavar="IMAGE", help="the small image by its digest, NAME@sha256:...")
    add("--image-gpu", default="", metavar="IMAGE", help="the image with torch by its digest")
    add("--literals", action="store_true", help="drop-downs in the form, from KFP 2.17")
    add("--parallelism", type=int, default=1, help="cells, and GANs, of a study at a time (default: 1)")
    add("--queue", default="", help="Kueue's local queue that admits the tasks' pods")
    add("--timeout-hours", type=float, default=0.0, help="longest life of a task's pod (default: none)")
    add("--pull-policy", default="", help=" or ".join(PULL_POLICIES))
    add("--gpu-nodes", default="", metavar="LABEL=VALUE", help=f"the GPU nodes' label, e.g. {GPU_NODES}")
    add(
        "--spot",
        nargs="?",
        const=SPOT_GKE,
        default="",
        metavar="LABEL=VALUE",
        help=f"preemptible GPU nodes are the form's default (without a value: {SPOT_GKE})",
    )
    add("--storage-secret", default="", metavar="NAME", help="Secret with AWS_ACCESS_KEY_ID and so on")


def _compile(options: argparse.Namespace) -> None:
    chosen = {field.name: getattr(options, field.name) for field in fields(Options)}
    compile_all(options.to, Options(**chosen))


def _simulate(options: argparse.Namespace) -> None:
    simulate_patients(options.folder, patients=options.patients, seed=options.seed, name=options.name)


def _run(options: argparse.Namespace) -> None:
    chosen, root = PIPELINES[options.pipeline], options.root.resolve()
    given = parse(options.p, chosen.parameters)
    if root.exists() and not root.is_dir():
        raise InputError(f"--root {root}: a file; valid: a folder, or a name that does not exist yet")
    values = profiles.values(options.profile, chosen.parameters)
    absent = {"volumes_uri": "", "classifiers_uri": "", "state_uri": str(root / "state")}
    defaults = {name: value for name, value in absent.items() if name in chosen.parameters.__annotations__}
    parameters = chosen.parameters(**with_absolute_paths({**defaults, **values, **given}))
    if is_pseudonym(getattr(parameters, "forget_patient", "")):
        local.forget_report(root)  # before any value can refuse the run
    _require_here(parameters)
    _require_kept(parameters, root)
    chosen.validate(parameters)
    report = local.run(options.pipeline, asdict(parameters), root)
    print("\n" + "\n".join(f"{Path(name).stem:<12}{report / name}" for name in chosen.outputs.values()))


def _require_here(parameters: Any) -> None:
    """Refuse weights of a GPU image that are not on this machine: no other image looks for them first."""
    for name in IN_IMAGES:
        uri = getattr(parameters, name, "")
        if uri.startswith(BAKED) and not storage.exists(uri):
            raise InputError(f"{name}={uri}: not on this machine; valid: a file that is, or the cluster")


def _require_kept(parameters: Any, root: Path) -> None:
    """Refuse an expert's file where this run will put its own."""
    given = getattr(parameters, "expert_labels_uri", "")
    path = storage.local_path(given) if given else None
    if path is not None and root / "report" in path.resolve().parents:
        raise InputError(
            f"expert_labels_uri={given}: this run's report will take its place; valid: a copy of it elsewhere"
        )


if __name__ == "__main__":
    sys.exit(main())
