"""Training by images seen: resume by calling again with the same arguments."""

import logging
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from stylegan2_ada import checkpoint, dataset, progress, weights
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.detector import Detector
from stylegan2_ada.devices import device_of, search_convolutions
from stylegan2_ada.distributed import join, own_rows
from stylegan2_ada.errors import DivergenceError, Stopped, UsageError
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.features import MetricOptions
from stylegan2_ada.generate import latents, save_grid, to_uint8
from stylegan2_ada.progress import ignore
from stylegan2_ada.run import Run, go_on, require_judge, settled
from stylegan2_ada.run_folder import Begin, claim, identity_of, locked
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.snapshots import deviation
from stylegan2_ada.stopping import Notice, heard
from stylegan2_ada.training_state import SKIPPED, TrainingState

log = logging.getLogger(__name__)

BEST = "best"  # folder of the network of the best KID
_GRID = 64  # images in a grid
_LARGER = 4  # times the gamma of a run that diverged: what to try next
_STUCK = 3  # ticks in which every step of a phase was skipped: the scale stays, so no later one will not be
_SPARSE, _RAREST_S = 20, 600.0  # times a checkpoint's own seconds, and seconds, between two


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished run was; its networks lie in the run's folder."""

    config: TrainingConfig  # fully derived
    kimg: float  # thousands of images really shown
    history: Sequence[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Whom a run tells of itself."""

    progress: Callable[[int, int], None] = ignore  # training images shown, of how many
    checkpoint: Callable[[Path], None] = ignore
    checkpoint_seconds: float = 60.0  # at least, between two checkpoints
    checkpoint_kimg: float = 0.0  # likewise; above 0 it stands in for the clock

    def is_due(self, seconds: float, images: int, cost: float) -> bool:
        """Tell whether so much since the last checkpoint, which took `cost` seconds, asks for another.

        By the clock they take a twentieth of the time at most, but for one each ten minutes.
        One of the very step that a run went on from would replace its checkpoint, or leave none if cut short.
        """
        if not images:
            return False
        if self.checkpoint_kimg:
            return images >= round(1000 * self.checkpoint_kimg)
        if not self.checkpoint_seconds:
            return True
        return seconds >= max(self.checkpoint_seconds, min(_SPARSE * cost, _RAREST_S))


def train(
    config: TrainingConfig,
    archive: Path,  # zip or folder
    members: Sequence[str] | None,  # names in it; None: all images
    run_dir: Path,
    *,
    resume: Path | None = None,  # a folder of `weights` to start from
    begin: Begin = "if needed",  # what becomes of a folder that holds a run, or none
    device: str = "auto",  # auto: the GPU where there is one
    detector: Detector | None = None,  # judges snapshots by their features
    metric_options: MetricOptions = MetricOptions(count=5000, kept=5000),  # noqa: B008 (it is frozen)
    on_progress: Callable[[int, int], None] = ignore,  # training images
    on_checkpoint: Callable[[Path], None] = ignore,
    checkpoint_seconds: float = 60.0,  # at least this, and a step, between two checkpoints
    checkpoint_kimg: float = 0.0,  # likewise; above 0 it stands in for the clock
) -> TrainingResult:
    """Train to the end, from the newest checkpoint of this same run in `run_dir` where there is one.

    A finished run is returned as it is; a folder of another run is refused, with what differs.
    Under torchrun all processes share the batch, and the first one writes.
    However often the run was stopped, the result is equal to the bit on one kind of CPU, for one number of
    threads.
    SIGTERM or Ctrl-C writes a checkpoint after the step at work, then raises Stopped.
    """
    listeners = Listeners(
        progress=on_progress, checkpoint=on_checkpoint, checkpoint_seconds=checkpoint_seconds,
        checkpoint_kimg=checkpoint_kimg,
    )  # fmt: skip
    require_judge(config, judged=detector is not None)
    if run_dir.resolve() == archive.resolve():
        raise UsageError(f"outdir={run_dir}: is the data; valid: another folder")
    _check_start(run_dir, resume, begin)
    with join(device_of(device)) as (ranks, where), ExitStack() as stack:
        search_convolutions(where)
        derived(config, ranks=ranks.count)  # settings that cannot be are refused before the images are read
        images = _load(config, archive, members)
        labels = 0 if images.labels is None else images.labels.shape[1]
        config = settled(config, resume, labels, ranks=ranks.count, cuda=where.type == "cuda")
        evaluate = _judge_of(images, detector, metric_options, run_dir)
        # What was refused until here leaves no trace.
        ranks.led(lambda: stack.enter_context(locked(run_dir)), where)
        identity = identity_of(config, images.digest, resume)
        ranks.led(lambda: claim(run_dir, identity, begin), where)
        if (finished := _finished(run_dir, identity.digest, config, evaluate)) is not None:
            on_progress(config.images, config.images)
            return finished
        run = Run(
            folder=run_dir, digest=identity.digest, images=images.kept_on(where), device=where,
            state=TrainingState.fresh(config, where, labels=images.labels, ranks=ranks),
            sampler=Sampler(images.size, config.seed), evaluate=evaluate,
        )  # fmt: skip
        go_on(run, resume, required=begin == "never")
        return _work(run, listeners if ranks.first else Listeners())


def _check_start(run_dir: Path, resume: Path | None, begin: Begin) -> None:
    """Refuse to remove the very networks that a run is to start from."""
    if begin == "over" and resume is not None and resume.resolve().is_relative_to(run_dir.resolve()):
        raise UsageError(f"resume={resume}: --start-over removes it with {run_dir}; valid: another outdir")


def _load(config: TrainingConfig, archive: Path, members: Sequence[str] | None) -> Dataset:
    found = dataset.load(
        archive, members=members, resolution=config.resolution, channels=config.channels,
        mirror=config.mirror, use_labels=config.cond, subset=config.subset, seed=config.seed, fit=config.fit,
    )  # fmt: skip
    if found.labels is not None and bool((found.labels == found.labels[0]).all()):
        raise UsageError(
            f"cond=True: one label for all images of {archive}; valid: two or more, or cond=False"
        )
    return found


def _judge_of(
    images: Dataset, detector: Detector | None, options: MetricOptions, run_dir: Path
) -> Evaluator | None:
    """Return what judges snapshots, tried once before the training; None where nothing does."""
    if detector is None:
        return None
    judge = Evaluator(detector, images.images, options=options, labels_NK=images.labels, cache=run_dir)
    judge.try_detector()
    return judge


def _work(run: Run, listeners: Listeners) -> TrainingResult:
    """Train tick by tick, and write what the ticks give rise to."""
    state, config = run.state, run.config
    journal = progress.Journal(run.folder, state.history) if state.ranks.first else None
    if state.images == 0:
        _snapshot(run, journal)
    keeper = _Keeper(run, listeners)
    listeners.progress(min(state.images, config.images), config.images)
    with heard() as notice:
        while not run.done:
            before, images = run.seconds, state.images
            if _train_tick(run, keeper, notice):
                _stop(run, keeper, notice.signal)
            row = _close_tick(run)
            if state.images >= config.images or _passed(state, round(config.snapshot_kimg * 1000)):
                row |= _judge(run, _snapshot(run, journal))
            if journal is not None:
                _report(run, journal, run.seconds - before, state.images - images)
            if run.done or keeper.is_due:
                keeper.save()
    if journal is not None:
        journal.close()
    return _finish(run)


class _Keeper:
    """Writes the checkpoints of a run, as often as its listeners ask; of several processes the first does."""

    def __init__(self, run: Run, listeners: Listeners) -> None:
        self.run, self.listeners = run, listeners
        self.saved, self.images, self.cost = time.monotonic(), run.state.images, 0.0

    @property
    def is_due(self) -> bool:
        """Tell whether so much was trained since the last one."""
        since = time.monotonic() - self.saved
        return self.listeners.is_due(since, self.run.state.images - self.images, self.cost)

    def save_if_finite(self) -> None:
        """Write one now, unless the networks diverged, on which all processes stop at the end of the tick."""
        with self.run.timed():
            is_wanted = self.run.state.ranks.first and self.run.state.is_finite()
        if is_wanted:
            self.save()

    def save(self) -> None:
        """Write one now."""
        run, state, begun = self.run, self.run.state, time.monotonic()
        if state.ranks.first:
            checkpoint.write(
                run.folder, run.digest, state.images, run.state_dict(), keep=run.config.keep,
                within_tick=state.within_tick,
            )  # fmt: skip
            self.listeners.checkpoint(run.folder)
        self.saved, self.images = time.monotonic(), state.images
        self.cost = self.saved - begun


def _train_tick(run: Run, keeper: _Keeper, notice: Notice) -> bool:
    """Step until the next multiple of the tick, or the end; tell whether a notice to end came before.

    A tick may have been begun before, and where it is long there are checkpoints within it.
    """
    state, config = run.state, run.config
    own = own_rows(config.batch, config.group, state.ranks)
    while not (state.within_tick and _ends_tick(run)):
        if state.within_tick and keeper.is_due:
            keeper.save_if_finite()
        with run.timed():
            reals, labels = run.images.batch(run.sampler.next(config.batch)[own], run.device)
            state.step(reals, labels)
        keeper.listeners.progress(min(state.images, config.images), config.images)
        with run.timed():  # several processes wait for each other's steps here
            stopped = notice.reached(state.ranks, state.images // config.batch, run.device)
        if stopped:
            return True
    return False


def _ends_tick(run: Run) -> bool:
    """Tell whether the last step ended a tick."""
    tick = max(round(run.config.tick_kimg * 1000), 1)
    return run.state.images >= run.config.images or _crossed(run.state, tick)


def _stop(run: Run, keeper: _Keeper, asked: signal.Signals) -> NoReturn:
    """Write a checkpoint of this very step and end, as a signal asked."""
    _require_numbers(run, {})
    keeper.save()
    run.state.ranks.led(lambda: None, run.device)  # torchrun ends the first process too once another one ends
    kimg = run.state.images / 1000
    log.info("stopped by %s at %.3f kimg: the same command goes on from there", asked.name, kimg)
    raise Stopped(asked)


def _crossed(state: TrainingState, interval: int) -> bool:
    """Tell whether the last step reached or passed a multiple of the interval."""
    return state.images // interval != (state.images - state.config.batch) // interval


def _passed(state: TrainingState, interval: int) -> bool:
    """Tell whether the tick that the last row closes reached or passed a multiple of the interval."""
    before = round(1000 * state.history[-2]["kimg"]) if len(state.history) > 1 else 0
    return state.images // interval != before // interval


def _close_tick(run: Run) -> dict[str, float]:
    """Return the row of a tick, or raise where training went wrong in it."""
    with run.timed():
        row = run.state.tick()  # which waits for what the device has left to do
    _require_numbers(run, row)
    _require_steps(run.state.history)
    return row


def _require_numbers(run: Run, row: Mapping[str, float]) -> None:
    if run.state.is_finite() and all(map(math.isfinite, row.values())):
        return
    measured = f" ({dict(row)})" if row else ""
    raise DivergenceError(f"not a number after {run.state.images / 1000:g} kimg{measured}; {_way_on(run)}")


def _require_steps(history: Sequence[Mapping[str, float]]) -> None:
    """Refuse to go on where one phase's gradients overflow float16 at every step."""
    for name in history[-1]:
        shares = [row[name] for row in history if name in row][-_STUCK:]
        if name.startswith(SKIPPED) and len(shares) == _STUCK and min(shares) == 1:
            phase = name.removeprefix(SKIPPED)
            raise DivergenceError(
                f"gradients of {phase} overflowed float16 at every step of {_STUCK} ticks; try --outdir NEW"
                " with --dtype bf16 or fp32"
            )


def _way_on(run: Run) -> str:
    """Return the command to go on with after a divergence, and write the networks that it starts from."""
    larger = f"--gamma {_LARGER * run.config.gamma:g}"
    last = checkpoint.newest(run.folder, run.digest)
    if last is None:
        return f"try the same command with --start-over {larger}; there is no checkpoint from before"
    run.state.ranks.led(lambda: _write_last(run), run.device)
    return (
        f"try the same command with --outdir NEW --resume {run.folder} {larger}, which starts from the"
        f" networks of the last good checkpoint: {last}"
    )


def _write_last(run: Run) -> None:
    """Write the networks of the newest whole checkpoint."""
    saved = checkpoint.read_latest(run.folder, run.digest, run.device)
    if saved is not None:
        run.state.load_state_dict(saved)
        _write(run, run.folder, {})


def _report(run: Run, journal: progress.Journal, seconds: float, images: int) -> None:
    """Write the last row, which this process spent so many seconds on, for so many images."""
    row = run.state.history[-1]
    pace = seconds / images * 1000 if images else run.seconds / row["kimg"]
    memory = progress.memory_gb(run.device)
    log.info("%s", progress.line(row, run.config.kimg, pace, memory))
    journal.add(row, seconds_per_kimg=pace, memory_gb=memory, seconds=run.seconds)


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
    if run.watch.is_better(kid) and run.state.ranks.first:
        _write(run, run.folder / BEST, {"kid": kid, "fid": fid})
    return {"deviation": spread, "kid": kid, "fid": fid}


def sample(state: TrainingState) -> Tensor:
    """Return images of fixed latents by the mean generator, uint8, N x C x H x W.

    Labels are those of as many images spread over the data.
    """
    device, labels_NK = state.path_mean.device, None
    if state.labels is not None:
        rows = torch.linspace(0, len(state.labels) - 1, _GRID).round().long()
        labels_NK = state.labels[rows.to(device)]
    parts = []
    for rows in torch.split(torch.arange(_GRID), state.config.batch_gpu or state.config.batch):
        labels = None if labels_NK is None else labels_NK[rows.to(device)]
        with torch.inference_mode():
            images = state.g_ema(latents(rows.tolist()).to(device), labels, noise="const")
        parts.append(to_uint8(images).cpu())
    return torch.cat(parts)


def _finished(
    run_dir: Path, digest: str, config: TrainingConfig, evaluate: Evaluator | None
) -> TrainingResult | None:
    """Return the result of this very run where its folder holds it: at its length, or out of patience."""
    info = weights.read_info(run_dir) if weights.is_whole(run_dir) else {}
    if info.get("run") != digest:
        return None
    shown, same_judge = round(info["kimg"] * 1000), evaluate is not None and info["judge"] == evaluate.digest
    gave_up = same_judge and info["stale"] >= config.patience > 0 and shown < config.images
    if not (gave_up or config.images <= shown < config.images + config.batch):
        return None
    log.info("%s: finished at %g kimg before; a larger kimg goes on", run_dir, info["kimg"])
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
        "judge": run.judge,
        "stale": run.watch.stale,
        "resolution": config.resolution,
        "channels": config.channels,
        "kimg": state.images / 1000,
        "seed": config.seed,
        "labels_are_classes": run.images.has_classes,
        "config": asdict(config),
        "history": state.history,
        **more,
    }
    weights.save(folder, state.g_ema, state.d, state.g.architecture, about)
