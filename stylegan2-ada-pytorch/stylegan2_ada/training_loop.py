"""Training by images seen: resume by calling again with the same arguments."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylegan2_ada import checkpoint, dataset, progress, weights
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.detector import Detector
from stylegan2_ada.distributed import device_of, join, own_rows
from stylegan2_ada.errors import DivergenceError
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.features import MetricOptions
from stylegan2_ada.generate import latents, save_grid, to_uint8
from stylegan2_ada.run import Run, go_on, run_digest, settled
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.snapshots import deviation
from stylegan2_ada.training_state import TrainingState

log = logging.getLogger(__name__)

BEST = "best"  # folder of the network of the best KID
_GRID = 64  # images in a grid


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
        derived(config, ranks=ranks.count)  # settings that cannot be are refused before the images are read
        images = dataset.load(
            archive, members=members, resolution=config.resolution, channels=config.channels,
            mirror=config.mirror, use_labels=config.cond, subset=config.subset, seed=config.seed,
            fit=config.fit,
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
            folder=run_dir, digest=digest, images=images.kept_on(where), device=where,
            state=TrainingState.fresh(config, where, labels=images.labels, ranks=ranks),
            sampler=Sampler(images.size, config.seed),
            evaluate=None if detector is None else Evaluator(
                detector, images.images, options=metric_options, labels_NK=images.labels, cache=run_dir
            ),
        )  # fmt: skip
        go_on(run, resume, afresh=afresh)
        return _work(run, listeners if ranks.first else Listeners())


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
    save_grid(grid, folder / "snapshots" / f"fakes_{images:09}.png")
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
