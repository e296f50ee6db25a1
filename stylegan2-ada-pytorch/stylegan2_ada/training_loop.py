"""Training by images seen: resume by calling again with the same arguments."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylegan2_ada import checkpoint, dataset, weights
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.errors import UsageError
from stylegan2_ada.generate import latents, save_grid, to_uint8
from stylegan2_ada.training_state import TrainingState, architecture_of

log = logging.getLogger(__name__)

STATS = "stats.jsonl"
_GRID = 64  # images in a grid


def _ignore(*_: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished run was; its networks lie in the run's folder."""

    config: TrainingConfig  # fully derived
    kimg: float  # thousands of images really shown
    history: Sequence[dict[str, float]]


class DivergenceError(FloatingPointError):
    """Raised when a loss or weight is no longer a number; the last checkpoint is from before."""


def train(
    config: TrainingConfig,
    archive: Path,
    members: Sequence[str],
    run_dir: Path,
    *,
    resume: Path | None = None,  # a folder of `weights` to start from
    device: str = "auto",  # auto: the GPU where there is one
    on_progress: Callable[[int, int], None] = _ignore,  # training images
    on_checkpoint: Callable[[Path], None] = _ignore,
    checkpoint_seconds: float = 60.0,  # at least this between two checkpoints
) -> TrainingResult:
    """Train to the end, from the newest checkpoint of this same run in `run_dir` where there is one.

    A finished run is returned as it is: its networks say which run they are of.

    On a CPU the result is equal to the bit however often the run was stopped, for one number of threads.
    """
    config = derived(config, transfer=resume is not None)
    images = dataset.load(
        archive, members, resolution=config.resolution, channels=config.channels,
        mirror=config.mirror, seed=config.seed,
    )  # fmt: skip
    where = _device(device)
    run_dir.mkdir(parents=True, exist_ok=True)
    run = run_digest(config, images, resume)
    if (finished := _finished(run_dir, run, config)) is not None:
        on_progress(config.images, config.images)
        return finished
    state = _start(config, where, run_dir, run, resume)
    _truncate_stats(run_dir / STATS, state)
    if state.images == 0:
        save_grid(_pick(images), run_dir / "reals.png")
        _snapshot(state, run_dir)
    saved = time.monotonic()
    on_progress(min(state.images, config.images), config.images)
    while state.images < config.images:
        began = time.monotonic()
        _train_tick(state, images, where, on_progress)
        _report(state, run_dir, time.monotonic() - began)
        last = state.images >= config.images
        if last or _crossed(state, round(config.snapshot_kimg * 1000)):
            _snapshot(state, run_dir)
        if last or time.monotonic() - saved >= checkpoint_seconds:
            checkpoint.write(run_dir, run, state.images, state.state_dict())
            on_checkpoint(run_dir)
            saved = time.monotonic()
    return _finish(state, run_dir, run)


def run_digest(config: TrainingConfig, images: Dataset, resume: Path | None) -> str:
    """Return the hash that two runs share when they would end equal: settings, images, start and sources."""
    info = weights.read_info(resume) if resume is not None else {}
    start = [info.get("digest"), info.get("discriminator_digest")]
    sources = [weights.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    facts = [asdict(config), images.digest, start, sources]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device={name}: no CUDA device found; valid: auto, cpu")
    return torch.device(name)


def _start(
    config: TrainingConfig, device: torch.device, run_dir: Path, run: str, resume: Path | None
) -> TrainingState:
    state = TrainingState.fresh(config, device)
    if resume is not None:
        weights.transfer(resume, architecture_of(config), state.g, state.d)
        state.g_ema.load_state_dict(state.g.state_dict())
    saved = checkpoint.read_latest(run_dir, run, device)
    if saved is not None:
        state.load_state_dict(saved)
        log.info("continuing at %.3f kimg", state.images / 1000)
    return state


def _train_tick(
    state: TrainingState, images: Dataset, device: torch.device, on_progress: Callable[[int, int], None]
) -> None:
    """Step until the next multiple of the tick, or the end."""
    config = state.config
    while True:
        state.step(images.batch(state.images, config.batch, device))
        on_progress(min(state.images, config.images), config.images)
        if state.images >= config.images or _crossed(state, max(round(config.tick_kimg * 1000), 1)):
            return


def _crossed(state: TrainingState, interval: int) -> bool:
    """Tell whether the last step reached or passed a multiple of the interval."""
    return state.images // interval != (state.images - state.config.batch) // interval


def _report(state: TrainingState, run_dir: Path, seconds: float) -> None:
    before = state.history[-1]["kimg"] if state.history else 0.0
    row = state.tick()
    if not state.is_finite() or not all(map(math.isfinite, row.values())):
        raise DivergenceError(f"not a number after {row['kimg']:g} kimg ({row}); try a larger gamma")
    pace = seconds / (row["kimg"] - before)
    log.info("%s", " ".join(f"{name} {value:.4g}" for name, value in {**row, "sec/kimg": pace}.items()))
    with (run_dir / STATS).open("a") as file:
        file.write(json.dumps({**row, "seconds_per_kimg": round(pace, 3)}) + "\n")


def _truncate_stats(path: Path, state: TrainingState) -> None:
    """Drop what was logged after the state that the run goes on from."""
    rows = path.read_text().splitlines() if path.is_file() else []
    path.write_text("".join(row + "\n" for row in rows[: len(state.history)]))


def _pick(images: Dataset) -> Tensor:
    """Return real images spread evenly over the set."""
    count = min(_GRID, len(images.images))
    return images.images[torch.linspace(0, len(images.images) - 1, count).round().long()]


def _snapshot(state: TrainingState, run_dir: Path) -> None:
    grid = sample(state)
    save_grid(grid, run_dir / "snapshots" / f"fakes_{state.images // 1000:06}.png")
    save_grid(grid, run_dir / "samples.png")


def sample(state: TrainingState, count: int = _GRID) -> Tensor:
    """Return images of fixed latents by the mean generator, uint8, N x C x H x W."""
    device = state.path_mean.device
    with torch.inference_mode():
        parts = [
            to_uint8(state.g_ema(z_NZ.to(device), noise="const")).cpu()
            for z_NZ in torch.split(latents(range(count)), state.config.batch)
        ]
    return torch.cat(parts)


def _finished(run_dir: Path, run: str, config: TrainingConfig) -> TrainingResult | None:
    """Return the result of this very run where its folder holds it."""
    if not weights.is_whole(run_dir):
        return None
    info = weights.read_info(run_dir)
    if info.get("run") != run:
        return None
    return TrainingResult(config=config, kimg=info["kimg"], history=info["history"])


def _finish(state: TrainingState, run_dir: Path, run: str) -> TrainingResult:
    config, kimg = state.config, state.images / 1000
    about = {
        "run": run,
        "resolution": config.resolution,
        "channels": config.channels,
        "kimg": kimg,
        "seed": config.seed,
        "config": asdict(config),
        "history": state.history,
    }
    weights.save(run_dir, state.g_ema, state.d, architecture_of(config), about)
    return TrainingResult(config=config, kimg=kimg, history=state.history)
