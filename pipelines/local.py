"""Runs a pipeline in this machine's processes with kfp.local: the same graph, no cluster.

    ROOT/report/      report.html and metrics.json of the last finished run, replaced as one; a run that
                      forgets a patient removes it before anything else
    ROOT/state/       splits, ledgers, checkpoints (the default state_uri)
    ROOT/artifacts/   what stages wrote
    ROOT/.cache/      which stage wrote what, a folder for each version of the code
    ROOT/run.log      KFP's own log of the last run

Killing a run loses nothing: the same command goes on where it stopped.
"""

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from kfp import local

from components.shared import planes, progress
from components.shared.audit import FINDINGS
from components.shared.code import code_digest
from components.shared.faults import InputError
from components.shared.files import write_whole
from components.shared.metrics import EVALUATION
from components.shared.weights import ABOUT, GENERATOR, weights_digest
from pipelines.catalogue import PIPELINES
from pipelines.terminal import EventFile, Terminal

_MODELS = (ABOUT, GENERATOR)  # beside their weights, whose digest they name
_PARTS = ("comp-run-arm", "comp-make-synthetic")  # of a study: what fails there says why and ends green
_FRESH, _OLD = ".report-", ".report-old-"  # the report that comes and the one that goes
_SAY_S, _WAIT_S = 2.0, 60.0  # for a killed run's stages, which notice within a second


class RunError(RuntimeError):
    """Raised when a stage failed; the message holds the stage's own line."""


def run(pipeline: str, arguments: Mapping[str, Any], root: Path) -> Path:
    """Run a pipeline to its end and return the folder of its report."""
    root.mkdir(parents=True, exist_ok=True)
    terminal = Terminal()
    with _locked(root, terminal):
        restore_report(root)
        drop_leftovers(root)
        drop_broken_entries(cache_folder(root))
        events = EventFile(root / "events.jsonl")
        write_whole(root / "arguments.json", json.dumps(dict(arguments)))
        if (status := _work(pipeline, root, events, terminal)) != 0:
            killed = (
                f"killed by signal {-status}, as for memory; the same command goes on; " if status < 0 else ""
            )
            reason = terminal.errors[0] if terminal.errors else f"{killed}see the log {root / 'run.log'}"
            raise RunError(reason)
        return publish(json.loads((root / "outputs.json").read_text()), root)


def _work(pipeline: str, root: Path, events: EventFile, terminal: Terminal) -> int:
    """Run the graph in a process of its own, so that KFP's log and its threads stay out of the way."""
    command = [sys.executable, "-m", "pipelines.local", pipeline, str(root)]
    # Threads that wait by sleeping, not by spinning: on two cores that another process shares, a stage is
    # then half as fast as alone; spinning makes it a quarter.
    environment = (
        {"OMP_WAIT_POLICY": "PASSIVE"}
        | os.environ
        | {
            progress.EVENTS: str(events.path),
            progress.PARENT: str(os.getpid()),
            progress.LOCK: str(root / ".stages.lock"),
        }
    )
    with (root / "run.log").open("w") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: S603
        while worker.poll() is None:
            time.sleep(0.2)
            for event in events.read():
                terminal.show(event)
    for event in events.read():
        terminal.show(event)
    return worker.returncode


@contextmanager
def _locked(root: Path, terminal: Terminal) -> Iterator[None]:
    """Hold ROOT for one run, and wait for the last stages of a killed one to notice."""
    with (root / ".lock").open("w") as lock:
        if not _try_lock(lock):
            raise InputError(f"--root {root}: in use by another run; valid: wait for it, or another folder")
        with (root / ".stages.lock").open("w") as stages:
            wait_for_stages(stages, root, terminal)
        yield


def wait_for_stages(lock: IO[str], root: Path, terminal: Terminal) -> None:
    """Take and so await the lock that a killed run's stages hold, and say so when that takes long."""
    begun, said = time.monotonic(), False
    while not _try_lock(lock):
        waited = time.monotonic() - begun
        if waited > _WAIT_S:
            raise InputError(
                f"--root {root}: a killed run's stage still works in it after {_WAIT_S:.0f} s;"
                " valid: end that process, or another folder"
            )
        if waited > _SAY_S and not said:
            terminal.say(f"waiting for the last stage of a killed run in {root}")
            said = True
        time.sleep(0.05)


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cache_folder(root: Path) -> Path:
    """Where this version of the code keeps its cache: edited code never finds results of other code."""
    return root / ".cache" / code_digest()[:16]


def drop_broken_entries(cache: Path) -> None:
    """Forget cache entries that cannot be read, and those whose artifacts are no longer whole.

    kfp.local looks at an artifact's path alone, and fails at a file that a crash has left empty.
    """
    for entry in cache.glob("*.json"):
        artifacts = _artifacts(entry)
        if artifacts is None or not all(map(is_whole, artifacts)):
            entry.unlink()


def _artifacts(entry: Path) -> list[Path] | None:
    """Return where the artifacts of a cache entry are; None where it is no entry."""
    try:
        outputs = json.loads(entry.read_text()).values()
    except (ValueError, AttributeError):
        return None
    return [Path(output["uri"]) for output in outputs if isinstance(output, dict) and "uri" in output]


def is_whole(artifact: Path) -> bool:
    """Tell whether an artifact is all there: a file with content, or a folder with what its kind needs."""
    if artifact.is_file():
        return artifact.stat().st_size > 0
    if (artifact / planes.ARCHIVE).exists() or (artifact / planes.SETTINGS).exists():
        return planes.is_whole(artifact)
    models = [artifact / name for name in _MODELS if (artifact / name).is_file()]
    if models:
        return all(weights_digest(about) is not None for about in models)
    return any((artifact / name).is_file() for name in (EVALUATION, FINDINGS))


def drop_leftovers(root: Path) -> None:
    """Remove what runs that never came to their report wrote and no cache entry, of any code, refers to."""
    known = "".join(entry.read_text(errors="replace") for entry in (root / ".cache").glob("*/*.json"))
    for task in list((root / "artifacts").glob("*/*/")):
        run_folder = task.parent
        if f"/{run_folder.name}/{task.name}/" not in known and not any(run_folder.glob("*/page")):
            shutil.rmtree(task)
            with suppress(OSError):  # it holds something yet
                run_folder.rmdir()


def restore_report(root: Path) -> None:
    """Undo what a killed `publish` began: the former report is in place again, and nothing beside it."""
    for old in root.glob(f"{_OLD}*"):
        if not (root / "report").exists():
            old.rename(root / "report")
    for left in root.glob(f"{_FRESH}*"):
        shutil.rmtree(left)


def forget_report(root: Path) -> None:
    """Remove the former report: it shows a patient who is to be forgotten, and a run may come to no other."""
    if not root.exists():
        return
    with _locked(root, Terminal()):
        restore_report(root)
        if (report := root / "report").exists():
            shutil.rmtree(report)


def publish(outputs: Mapping[str, str], root: Path) -> Path:
    """Copy the pipeline's outputs to ROOT/report, replacing the former report in one step.

    Killed between the two renames, it leaves the former report to `restore_report`.
    """
    fresh = root / f"{_FRESH}{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    for name, path in outputs.items():
        source = Path(path)
        shutil.copyfile(source / name if source.is_dir() else source, fresh / name)
    report, old = root / "report", root / f"{_OLD}{uuid.uuid4().hex}"
    if report.exists():
        report.rename(old)
    fresh.rename(report)
    shutil.rmtree(old, ignore_errors=True)
    return report


def work(pipeline: str, root: Path) -> None:
    """Run the graph in this process and write where its outputs are."""
    _announce_cache_hits()
    progress.die_with_parent()
    chosen = PIPELINES[pipeline]
    graph = chosen.graph(1)  # two torch processes on two cores run 20 times slower than one
    _drop_retries(graph.pipeline_spec)
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(root / "artifacts"),
        enable_caching=True,
        cache_root=str(cache_folder(root)),
    )
    task = graph(**json.loads((root / "arguments.json").read_text()))
    outputs = {file: task.outputs[name].path for name, file in chosen.outputs.items()}
    (root / "outputs.json").write_text(json.dumps(outputs))


def _drop_retries(spec: Any) -> None:
    """Take the cluster's retries out: here they would only make a person wait for the same error.

    The parts of a study keep theirs, without a pause. Their errors are caught, so that one which fails was
    killed, and its last attempt says so instead of trying.
    """
    for dag in [spec.root.dag, *(component.dag for component in spec.components.values())]:
        for task in dag.tasks.values():
            if task.component_ref.name.startswith(_PARTS):
                task.retry_policy.backoff_duration.FromSeconds(0)
            else:
                task.ClearField("retry_policy")


def _announce_cache_hits() -> None:
    """Turn kfp.local's log line about a cache hit into an event; there is no other sign of it."""
    make_record = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        words = record.getMessage().split()
        if words[2:4] == ["cache", "hit"]:
            progress.emit(words[1].replace("-", "_"), "cached")
        return record

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.setLogRecordFactory(factory)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
