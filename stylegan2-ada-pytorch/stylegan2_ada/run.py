"""A run: how its networks and settings are found, and where it goes on."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from stylegan2_ada import checkpoint, weights
from stylegan2_ada.config import TrainingConfig, derived, of_another_batch
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.errors import UsageError
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.networks import freeze
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.snapshots import Watch
from stylegan2_ada.training_state import ARCHITECTURE, TrainingState, architecture_of, require_shares

log = logging.getLogger(__name__)


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
    judge: str = field(init=False)  # digest of what judges them, or did last; "": nothing
    seconds: float = 0.0  # of training, all processes that worked on it after another together

    def __post_init__(self) -> None:
        self.judge = self.evaluate.digest if self.evaluate else ""

    @property
    def config(self) -> TrainingConfig:
        """All settings."""
        return self.state.config

    @property
    def done(self) -> bool:
        """Tell whether all images are shown, or no better network is to be expected."""
        patience = self.config.patience
        enough = self.state.images >= self.config.images or 0 < patience <= self.watch.stale
        return enough and not self.state.within_tick

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what the body takes as training."""
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began

    def state_dict(self) -> dict[str, object]:
        """Return all that a run goes on from."""
        more = {
            "sampler": self.sampler.state(), "watch": vars(self.watch), "judge": self.judge,
            "seconds": self.seconds,
        }  # fmt: skip
        return {**self.state.state_dict(), **more}


def settled(
    config: TrainingConfig, resume: Path | None, labels: int, *, ranks: int = 1, cuda: bool = False
) -> TrainingConfig:
    """Return the derived settings for label vectors of a length.

    What the user left open about the networks follows those to start from. UsageError where no such networks
    can be made, or shared by so many processes.
    """
    done = derived(config, transfer=resume is not None, ranks=ranks, cuda=cuda)
    if resume is not None:
        given = {item.name for item in fields(config) if getattr(config, item.name) != item.default}
        there = weights.transferred(architecture_of(done, labels), given, resume)
        done = replace(done, **{name: getattr(there, name) for name in ARCHITECTURE})
    require_shares(done, ranks)
    with torch.device("meta"):  # nothing is allocated
        freeze(architecture_of(done).discriminator(done.group), done.freeze_d)
    if warning := of_another_batch(config, done):
        log.warning("%s", warning)
    return done


def require_judge(config: TrainingConfig, *, judged: bool) -> None:
    """Refuse to wait for a better KID where nothing measures it."""
    if config.patience and not judged:
        raise UsageError(f"patience={config.patience}: nothing judges snapshots; valid: 0, or a detector")


def go_on(run: Run, resume: Path | None, *, required: bool) -> None:
    """Bring a new run to its newest checkpoint, else to the networks to start from.

    Raises UsageError where there is no checkpoint but one is required, or the run is further than asked.
    """
    saved = checkpoint.read_latest(run.folder, run.digest, run.device)
    if saved is not None:
        _restore(run, saved)
    else:
        _check_beginning(run.folder, required=required)
        if checkpoint.paths(run.folder, run.digest):
            log.warning("%s: no whole checkpoint is left, beginning at 0 kimg", run.folder)
        if resume is not None:
            weights.transfer(resume, run.state.g, run.state.d, run.state.g_ema)
    _check_start(run)


def _check_beginning(folder: Path, *, required: bool) -> None:
    """Refuse to begin where a checkpoint is required, or over the network of a finished run."""
    if required:
        raise UsageError(f"resume=latest: no whole checkpoint in {folder}; valid: a folder of one")
    if weights.is_whole(folder):
        raise UsageError(
            f"outdir={folder}: its network is of {weights.read_info(folder)['kimg']:g} kimg and no checkpoint"
            " is left to go on from; valid: another outdir, or --start-over, which removes it"
        )


def _restore(run: Run, saved: dict[str, Any]) -> None:
    run.state.load_state_dict(saved)
    run.sampler.restore(saved["sampler"])
    run.watch = Watch(**saved["watch"])
    judge = run.evaluate.digest if run.evaluate else saved["judge"]
    if saved["judge"] not in ("", judge):
        log.info("another detector judges from now on: the best snapshot is looked for anew")
        run.watch = Watch(alike=run.watch.alike)
    run.judge = judge
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
