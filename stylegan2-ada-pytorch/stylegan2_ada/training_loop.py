"""Training by images seen: resume by calling again with the same arguments."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan2_ada import checkpoint, dataset, progress, weights
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.detector import Detector
from stylegan2_ada.distributed import join, own_rows
from stylegan2_ada.errors import DivergenceError, UsageError
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.features import MetricOptions
from stylegan2_ada.generate import latents, save_grid, to_uint8
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.snapshots import Watch, deviation
from stylegan2_ada.training_state import ARCHITECTURE, TrainingState, architecture_of

log = logging.getLogger(__name__)

BEST = "best"  # folder of the network of the best KID
OPTIONS = "training_options.json"
_GRID = 64  # images in a grid
# Settings that say how far a run goes and how it is worked on, not what it is.
_COURSE = ("kimg", "tick_kimg", "batch_gpu", "keep")


def _ignore(*_: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished run was; its networks lie in the run's folder."""

    config: TrainingConfig  # fully derived
    kimg: float  # thousands of images really shown
    history: Sequence[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Whom a run tells of itself."""

    progress: Callable[[int, int], None] = _ignore  # training images shown, of how many
    checkpoint: Callable[[Path], None] = _ignore
    checkpoint_seconds: float = 60.0  # at least, between two checkpoints


@dataclass(kw_only=True)
class Run:
    """A run at work."""

    folder: Path
    digest: str
    state: TrainingState
    images: Dataset
    device: torch.device
    sampler: Sampler
    watch: Watch
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


def train(
    config: TrainingConfig,
    archive: Path,  # zip or folder
    members: Sequence[str] | None,  # names in it; None: all images
    run_dir: Path,
    *,
    resume: Path | None = None,  # a folder of `weights` to start from
    afresh: bool = True,  # may begin; False: a checkpoint of this very run is needed
    device: str = "auto",  # auto: the GPU where there is one
    detector: Detector | None = None,  # judges snapshots by their features
    metric_options: MetricOptions = MetricOptions(count=5000, kept=5000),  # noqa: B008 (it is frozen)
    on_progress: Callable[[int, int], None] = _ignore,  # training images
    on_checkpoint: Callable[[Path], None] = _ignore,
    checkpoint_seconds: float = 60.0,  # at least this between two checkpoints
) -> TrainingResult:
    """Train to the end, from the newest checkpoint of this same run in `run_dir` where there is one.

    A finished run is returned as it is: its networks say which run they are of.
    Under torchrun all processes share the batch, and the first one writes.
    On a CPU the result is equal to the bit however often the run was stopped, for one number of threads.
    """
    listeners = Listeners(
        progress=on_progress, checkpoint=on_checkpoint, checkpoint_seconds=checkpoint_seconds
    )
    with join(device_of(device)) as (ranks, where):
        images = dataset.load(
            archive, members=members, resolution=config.resolution, channels=config.channels,
            mirror=config.mirror, use_labels=config.cond, subset=config.subset, seed=config.seed,
        )  # fmt: skip
        labels = 0 if images.labels is None else images.labels.shape[1]
        config = settled(config, resume, labels, ranks=ranks.count, cuda=where.type == "cuda")
        run_dir.mkdir(parents=True, exist_ok=True)
        judge = [] if detector is None else [detector.digest, asdict(metric_options)]
        digest = run_digest(config, images, resume, judge)
        if (finished := _finished(run_dir, digest, config)) is not None:
            on_progress(config.images, config.images)
            return finished
        run = Run(
            folder=run_dir, digest=digest, images=images, device=where,
            state=TrainingState.fresh(config, where, labels=images.labels, ranks=ranks),
            sampler=Sampler(images.size, config.seed), watch=Watch(),
        )  # fmt: skip
        _go_on(run, resume, afresh=afresh)
        if detector is not None:
            run.evaluate = Evaluator(
                detector, images.images, options=metric_options, labels_NK=images.labels, cache=run_dir
            )
        return _work(run, listeners if ranks.first else Listeners())


def settled(
    config: TrainingConfig, resume: Path | None, labels: int, *, ranks: int = 1, cuda: bool = False
) -> TrainingConfig:
    """Return the derived settings for label vectors of a length.

    What the user left open about the networks follows those to start from.
    """
    done = derived(config, transfer=resume is not None, ranks=ranks, cuda=cuda)
    if resume is None:
        return done
    given = {field.name for field in fields(config) if getattr(config, field.name) != field.default}
    there = weights.transferred(architecture_of(done, labels), given, resume)
    return replace(done, **{name: getattr(there, name) for name in ARCHITECTURE})


def run_digest(
    config: TrainingConfig, images: Dataset, resume: Path | None, judge: Sequence[object] = ()
) -> str:
    """Return the hash that two runs of equal length share when they would end equal.

    It is of settings, images, start and sources, and of what judges snapshots.
    """
    info = weights.read_info(resume) if resume is not None else {}
    start = [info.get("digest"), info.get("discriminator_digest")]
    sources = [weights.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    settings = {name: value for name, value in asdict(config).items() if name not in _COURSE}
    facts = [settings, images.digest, start, sources, judge]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def device_of(name: str) -> torch.device:
    """Return a device by its name; auto: the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device={name}: no such device; valid: auto, cpu, cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}: no GPU that this PyTorch can use; valid: auto, cpu")
    return device


def _go_on(run: Run, resume: Path | None, *, afresh: bool) -> None:
    """Bring a new run to its newest checkpoint, else to the networks to start from."""
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
        settings = {"resume": None if resume is None else str(resume), "config": asdict(run.config)}
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


def _work(run: Run, listeners: Listeners) -> TrainingResult:
    """Train tick by tick, and write what the ticks give rise to."""
    state, config = run.state, run.config
    journal = progress.Journal(run.folder, state.history) if state.ranks.first else None
    if state.images == 0:
        _snapshot(run, journal)
    saved = time.monotonic()
    listeners.progress(min(state.images, config.images), config.images)
    while not run.done:
        began = time.monotonic()
        _train_tick(run, listeners)
        row = _close_tick(run)
        spent = time.monotonic() - began
        run.seconds += spent
        if run.state.images >= config.images or _crossed(state, round(config.snapshot_kimg * 1000)):
            row |= _judge(run, _snapshot(run, journal))
        if journal is not None:
            _report(run, journal, spent)
        if run.done or time.monotonic() - saved >= listeners.checkpoint_seconds:
            _save(run, listeners)
            saved = time.monotonic()
    if journal is not None:
        journal.close()
    return _finish(run)


def _train_tick(run: Run, listeners: Listeners) -> None:
    """Step until the next multiple of the tick, or the end."""
    state, config = run.state, run.config
    own = own_rows(config.batch, config.group, state.ranks)
    while True:
        reals, labels = run.images.batch(run.sampler.next(config.batch)[own], run.device)
        state.step(reals, labels)
        listeners.progress(min(state.images, config.images), config.images)
        if state.images >= config.images or _crossed(state, max(round(config.tick_kimg * 1000), 1)):
            return


def _crossed(state: TrainingState, interval: int) -> bool:
    """Tell whether the last step reached or passed a multiple of the interval."""
    return state.images // interval != (state.images - state.config.batch) // interval


def _close_tick(run: Run) -> dict[str, float]:
    """Return the row of a tick, or raise where training went wrong in it."""
    row = run.state.tick()
    if run.state.is_finite() and all(map(math.isfinite, row.values())):
        return row
    last = checkpoint.newest(run.folder, run.digest)
    raise DivergenceError(
        f"not a number after {row['kimg']:g} kimg ({row}); try a larger gamma;"
        f" last good checkpoint: {last or 'none'}"
    )


def _report(run: Run, journal: progress.Journal, seconds: float) -> None:
    history = run.state.history
    before = history[-2]["kimg"] if len(history) > 1 else 0.0
    pace = seconds / (history[-1]["kimg"] - before)
    memory = progress.memory_gb(run.device)
    log.info("%s", progress.line(history[-1], run.config.kimg, pace, memory))
    journal.add(history[-1], seconds_per_kimg=pace, memory_gb=memory, seconds=run.seconds)


def _save(run: Run, listeners: Listeners) -> None:
    if run.state.ranks.first:
        checkpoint.write(run.folder, run.digest, run.state.images, run.state_dict(), keep=run.config.keep)
        listeners.checkpoint(run.folder)


def _pick(images: Dataset) -> Tensor:
    """Return real images spread evenly over the set."""
    count = min(_GRID, len(images.images))
    return images.images[torch.linspace(0, len(images.images) - 1, count).round().long()]


def _snapshot(run: Run, journal: progress.Journal | None) -> Tensor | None:
    """Write a grid of generated images and return them; other processes than the first make none."""
    if journal is None:
        return None
    images, folder = run.state.images, run.folder
    if images == 0:
        save_grid(_pick(run.images), folder / "reals.png")
    grid = sample(run.state)
    save_grid(grid, folder / "snapshots" / f"fakes_{images // 1000:06}.png")
    save_grid(grid, folder / "samples.png")
    journal.show("fakes", grid, images)
    return grid


def _judge(run: Run, grid: Tensor | None) -> dict[str, float]:
    """Compare a snapshot with real images and with the snapshots before it; return what was measured."""
    found = torch.zeros(3, device=run.device)  # the other processes hear the first one's
    if grid is not None:
        scores = run.evaluate(run.state.g_ema) if run.evaluate else {"kid": 0.0, "fid": 0.0}
        spread = deviation(grid) / max(deviation(_pick(run.images)), 1e-8)
        found = torch.tensor([spread, scores["kid"], scores["fid"]], device=run.device)
    run.state.ranks.add_up([found])
    spread, kid, fid = found.tolist()
    kimg = run.state.images / 1000
    run.watch.compare(spread, run.config.collapse_ratio, kimg)
    if run.evaluate is None:
        return {"deviation": spread}
    if run.watch.is_better({"kid": kid, "fid": fid}, kimg) and run.state.ranks.first:
        _write(run, run.folder / BEST, {"kid": kid, "fid": fid})
    return {"deviation": spread, "kid": kid, "fid": fid}


def sample(state: TrainingState, count: int = _GRID) -> Tensor:
    """Return images of fixed latents by the mean generator, uint8, N x C x H x W.

    Labels are those of as many images spread over the data.
    """
    device, labels_NK = state.path_mean.device, None
    if state.labels is not None:
        rows = torch.linspace(0, len(state.labels) - 1, count).round().long()
        labels_NK = state.labels[rows.to(device)]
    parts = []
    for rows in torch.split(torch.arange(count), state.config.batch_gpu or state.config.batch):
        labels = None if labels_NK is None else labels_NK[rows.to(device)]
        with torch.inference_mode():
            images = state.g_ema(latents(rows.tolist()).to(device), labels, noise="const")
        parts.append(to_uint8(images).cpu())
    return torch.cat(parts)


def _finished(run_dir: Path, digest: str, config: TrainingConfig) -> TrainingResult | None:
    """Return the result of this very run where its folder holds it."""
    if not weights.is_whole(run_dir):
        return None
    info = weights.read_info(run_dir)
    if info.get("run") != digest or info["config"]["kimg"] != config.kimg:
        return None
    return TrainingResult(config=config, kimg=info["kimg"], history=info["history"])


def _finish(run: Run) -> TrainingResult:
    if run.state.ranks.first:
        _write(run, run.folder, {})
    return TrainingResult(config=run.config, kimg=run.state.images / 1000, history=run.state.history)


def _write(run: Run, folder: Path, more: Mapping[str, float]) -> None:
    """Write the networks as they are now, and what they are."""
    config, state = run.config, run.state
    about = {
        "run": run.digest,
        "resolution": config.resolution,
        "channels": config.channels,
        "kimg": state.images / 1000,
        "seed": config.seed,
        "config": asdict(config),
        "history": state.history,
        **more,
    }
    weights.save(folder, state.g_ema, state.d, state.g.architecture, about)
