"""A run: what it is, how its networks and settings are found, and where it goes on."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from stylegan2_ada import checkpoint, weights
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.errors import UsageError
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.snapshots import Watch
from stylegan2_ada.training_state import ARCHITECTURE, TrainingState, architecture_of

log = logging.getLogger(__name__)

OPTIONS = "training_options.json"
# Settings that say how far a run goes and how it is worked on, not what it is.
_COURSE = ("kimg", "tick_kimg", "batch_gpu", "keep")


@dataclass(kw_only=True)
class Run:
    """A run at work."""

    folder: Path
    digest: str
    state: TrainingState
    images: Dataset
    device: torch.device
    sampler: Sampler
    watch: Watch = field(default_factory=Watch)
    evaluate: Evaluator | None = None  # None: snapshots are not judged
    seconds: float = 0.0  # of training, all processes that worked on it after another together

    @property
    def config(self) -> TrainingConfig:
        """All settings."""
        return self.state.config

    @property
    def done(self) -> bool:
        """Tell whether all images are shown, or no better network is to be expected."""
        patience = self.config.patience
        return self.state.images >= self.config.images or 0 < patience <= self.watch.stale

    def state_dict(self) -> dict[str, object]:
        """Return all that a run goes on from."""
        more = {"sampler": self.sampler.state(), "watch": vars(self.watch), "seconds": self.seconds}
        return {**self.state.state_dict(), **more}


def settled(
    config: TrainingConfig, resume: Path | None, labels: int, *, ranks: int = 1, cuda: bool = False
) -> TrainingConfig:
    """Return the derived settings for label vectors of a length.

    What the user left open about the networks follows those to start from.
    """
    done = derived(config, transfer=resume is not None, ranks=ranks, cuda=cuda)
    if resume is None:
        return done
    given = {item.name for item in fields(config) if getattr(config, item.name) != item.default}
    there = weights.transferred(architecture_of(done, labels), given, resume)
    return replace(done, **{name: getattr(there, name) for name in ARCHITECTURE})


def run_digest(
    config: TrainingConfig, images: Dataset, resume: Path | None, judge: Sequence[object] = ()
) -> str:
    """Return the hash that two runs of equal length share when they would end equal.

    It is of settings, images, start and sources, and of what judges snapshots.
    """
    info = weights.read_info(resume) if resume is not None else {}
    start = [info.get(name) for name in ("digest", "discriminator_digest", "raw_digest")]
    sources = [weights.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    settings = {name: value for name, value in asdict(config).items() if name not in _COURSE}
    facts = [settings, images.digest, start, sources, judge]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def go_on(run: Run, resume: Path | None, *, afresh: bool) -> None:
    """Bring a new run to its newest checkpoint, else to the networks to start from.

    Raises UsageError where it may not begin afresh but would, or is further than asked.
    """
    g, d, g_ema = run.state.g, run.state.d, run.state.g_ema
    saved = checkpoint.read_latest(run.folder, run.digest, run.device)
    if saved is not None:
        _restore(run, saved)
    else:
        _tell_of_others(run, refuse=not afresh)
    if saved is None and resume is not None:
        weights.transfer(resume, g.architecture, g, d, g_ema)
    _check_start(run)
    if run.state.ranks.first:
        settings = {"resume": None if resume is None else str(resume.resolve()), "config": asdict(run.config)}
        weights.write_json(run.folder / OPTIONS, settings)


def _tell_of_others(run: Run, *, refuse: bool) -> None:
    """Say that the folder's checkpoints are of another run, and which settings differ."""
    count = len(checkpoint.paths(run.folder))
    if not count and not refuse:
        return
    path = run.folder / OPTIONS
    there = json.loads(path.read_text())["config"] if path.is_file() else {}
    here = {name: value for name, value in asdict(run.config).items() if name not in _COURSE}
    different = [
        f"{name} {there.get(name)}, now {here[name]}" for name in here if there.get(name) != here[name]
    ]
    reason = "; ".join(different[:8]) or "other images, start or version"
    if refuse:
        raise UsageError(
            f"resume=latest: {count} checkpoint(s) in {run.folder}, none of this run ({reason});"
            " valid: the settings of the stopped run"
        )
    log.warning("starting afresh: %d checkpoint(s) in %s are of another run (%s)", count, run.folder, reason)


def _restore(run: Run, saved: dict[str, Any]) -> None:
    run.state.load_state_dict(saved)
    run.sampler.restore(saved["sampler"])
    run.watch = Watch(**saved["watch"])
    run.seconds = saved["seconds"]
    log.info("continuing at %.3f kimg", run.state.images / 1000)


def _check_start(run: Run) -> None:
    """Refuse a run that is further than asked, or at another place on another machine."""
    state, config = run.state, run.config
    if state.images >= config.images + config.batch:
        raise UsageError(
            f"kimg={config.kimg:g}: this run is at {state.images / 1000:g} already;"
            " valid: more, or another outdir"
        )
    if not state.ranks.agree(state.images, run.device):
        raise UsageError(
            f"outdir={run.folder}: the processes see different checkpoints in it; valid: a folder they share"
        )
