"""Seconds of each phase of StyleGAN2-ADA's training, ours alone or beside a plain peer in the same process.

python benchmarks/gan_training.py --res 64 --batch 8 --pipe bgc --p 0.3 --dtype fp32 --versus plain

It first asserts that both compute the same numbers from the same weights, then times them phase by phase in
turn, so that what else the machine does meets both. The peer always runs in float32. The real training code
runs: TrainingState's phases, on images of noise. `make` hands the phases to another script.

Each phase is waited for, as it is not in training, so that on a GPU the sum of phases overstates what the
host costs. There ours also takes whole steps, many between two waits; the peer has no such step.

How malloc treats what is freed is the whole process's, so one side cannot have its own: without
--keep-freed-memory both sides have glibc's way, with it the way that our commands ask for.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stylegan2_ada.augment import SETS, RandomDraws, augment
from stylegan2_ada.chance import PHASES, Chance
from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.dataset import Dataset
from stylegan2_ada.devices import device_of, keep_freed_memory, search_convolutions
from stylegan2_ada.errors import UsageError
from stylegan2_ada.networks import LATENT
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.training_state import TrainingState
from torch import Tensor, nn

DATA = 256  # images of noise to train on
DRAWN = 16  # images that are generated at once
OUTPUT_ERROR, GRADIENT_ERROR = 1e-4, 1e-3  # largest relative differences to the peer

# What `make` takes, the setting of a run that it is, and its default; None leaves it to the run's formula.
SETTINGS: dict[str, tuple[str, Any]] = {
    "cfg": ("cfg", None),
    "res": ("resolution", 64),
    "batch": ("batch", 8),
    "channels": ("channels", 3),
    "pipe": ("augment", "bgc"),
    "p": ("p", 0.3),
    "dtype": ("dtype", None),
    "gamma": ("gamma", None),
    "channel_base": ("channel_base", None),
    "map_layers": ("mapping_layers", None),
    "mbstd": ("group", None),
    "lr": ("learning_rate", None),
    "seed": ("seed", None),
}


def given_by(cfg: Any) -> dict[str, Any]:
    """Return what `make` takes by name, None where it is left open."""
    names = (*SETTINGS, "device", "threads")
    return {name: cfg.get(name) if isinstance(cfg, dict) else getattr(cfg, name, None) for name in names}


def settings_of(cfg: Any, device: torch.device) -> TrainingConfig:
    """Return a run's settings from a dict of SETTINGS' names, or an object with such attributes.

    A group of minibatch deviation larger than the batch is the batch, as it is in the network.
    """
    given = given_by(cfg)
    chosen = {
        ours: given.get(name) if given.get(name) is not None else default
        for name, (ours, default) in SETTINGS.items()
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if chosen.get("group") and chosen["batch"]:
        chosen["group"] = min(chosen["group"], chosen["batch"])
    return derived(TrainingConfig(aug="fixed", **chosen), cuda=device.type == "cuda")


class Bench:
    """The phases of one run, each on fresh draws."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self.config, self.device, self.steps = config, device, 0
        self.trainer: Any = TrainingState.fresh(config, device)
        self.pipe: Any = augment
        shape = (DATA, config.channels, config.resolution, config.resolution)
        pixels = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        self.images = Dataset(images=pixels, digest="", mirror=True).kept_on(device)
        self.sampler = Sampler(self.images.size, config.seed)
        self.reals = self.data()
        rng = torch.Generator().manual_seed(config.seed)
        self.z_NZ = torch.randn(max(config.batch, DRAWN), LATENT, generator=rng).to(device)

    def peer(self) -> "Bench":
        """Return the same phases of the plain peer, in float32: same weights, same images.

        UsageError where it does not have the networks.
        """
        if (self.config.g_blocks, self.config.d_blocks) != ("skip", "resnet"):
            raise UsageError(
                f"versus=plain: the peer has no generator of {self.config.g_blocks} with a discriminator of"
                f" {self.config.d_blocks} blocks; valid: skip with resnet, none"
            )
        from plain_training import Plain, augmented

        peer = copy.copy(self)
        peer.trainer, peer.pipe = Plain(self.trainer), augmented
        return peer

    def phase(self, name: str, chance: Chance | None = None) -> None:
        """Run Gmain, Greg, Dmain or Dreg: gradients to zero, forward, backward, step."""
        chance = chance or self.chance()
        if name in ("Gmain", "Greg"):
            (self.trainer.g_main if name == "Gmain" else self.trainer.g_reg)(chance)
            return
        labels = (None,) if isinstance(self.trainer, TrainingState) else ()
        (self.trainer.d_main if name == "Dmain" else self.trainer.d_reg)(self.reals, *labels, chance)

    def chance(self) -> Chance:
        """Return the draws of the next step."""
        self.steps += 1
        return Chance(self.config.seed, self.steps, self.device)

    def ema(self) -> None:
        """Move the running mean of the generator's weights."""
        self.trainer.average()

    def data(self) -> Tensor:
        """Return the next batch of images."""
        return self.images.batch(self.sampler.next(self.config.batch), self.device)[0]

    @torch.no_grad()
    def augment(self) -> Tensor:
        """Augment the batch."""
        self.steps += 1
        draws = RandomDraws(count=self.config.batch, rng=torch.Generator().manual_seed(self.steps))
        images: Tensor = self.pipe(self.reals, SETS[self.config.augment], self.config.p, draws)
        return images

    @torch.no_grad()
    def g_forward(self) -> Tensor:
        """Generate a batch with the network in training."""
        images: Tensor = self.trainer.g(self.z_NZ[: self.config.batch])
        return images

    @torch.no_grad()
    def d_forward(self) -> Tensor:
        """Judge a batch."""
        logits: Tensor = self.trainer.d(self.reals)
        return logits

    @torch.no_grad()
    def generate(self) -> Tensor:
        """Generate DRAWN images with the mean generator."""
        images: Tensor = self.trainer.g_ema(self.z_NZ[:DRAWN], noise="const")
        return images

    def train(self, steps: int) -> None:
        """Take so many whole steps, the next images of each included."""
        for _ in range(steps):
            self.trainer.step(self.data())

    def sync(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def parts(self) -> dict[str, Callable[[], object]]:
        """Return all that is timed, by name."""
        return {
            **{name: partial(self.phase, name) for name in PHASES},
            "EMA": self.ema,
            "data": self.data,
            "augment": self.augment,
            "G forward": self.g_forward,
            "D forward": self.d_forward,
            "generate": self.generate,
        }


def make(cfg: Any) -> Bench:
    """Return the phases of a run; `cfg` may also hold `device` and `threads`."""
    given = given_by(cfg)
    if given.get("threads"):
        torch.set_num_threads(given["threads"])
    device = device_of(str(given.get("device") or "cpu"))
    search_convolutions(device)
    return Bench(settings_of(given, device), device)


def same_numbers(ours: Bench, plain: Bench) -> dict[str, float]:
    """Return relative differences of outputs and gradients in float32; ArithmeticError where one is large."""
    with float32_alone((ours, plain)):
        found = {name: gradient_difference(ours, plain, name) for name in PHASES}
        plain.trainer.load(ours.trainer)
        found["G"] = distance(ours.generate(), plain.generate())
        found["D"] = distance(ours.d_forward(), plain.d_forward())
    for name, error in found.items():
        if not error < (GRADIENT_ERROR if name in PHASES else OUTPUT_ERROR):
            raise ArithmeticError(f"{name}: ours and the plain peer differ by {error:.2g}")
    return found


def gradient_difference(ours: Bench, plain: Bench, name: str) -> float:
    """Return the smallest relative difference of a phase's gradients on up to three draws.

    Rounding now and then turns a sign before a leaky ReLU of the last layers, which moves all gradients of
    that draw by a thousandth or two; another formula would move those of every draw.
    """
    errors = []
    while not errors or (len(errors) < 3 and min(errors) >= GRADIENT_ERROR):
        plain.trainer.load(ours.trainer)
        chance = ours.chance()
        for bench in (ours, plain):
            bench.phase(name, chance)
        networks = [b.trainer.g if name in ("Gmain", "Greg") else b.trainer.d for b in (ours, plain)]
        errors.append(distance(*map(gradient, networks)))
    return min(errors)


@contextmanager
def float32_alone(benches: Sequence[Bench]) -> Iterator[None]:
    """Run every block in float32, without the GPU's shortened products."""
    flags = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    networks = [net for b in benches for net in (b.trainer.g, b.trainer.d, b.trainer.g_ema)]
    layers = [module for network in networks for module in network.modules() if hasattr(module, "low")]
    before = [module.low for module in layers]
    for module in layers:
        module.low = torch.float32
    yield
    for module, low in zip(layers, before, strict=True):
        module.low = low
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


def gradient(network: nn.Module) -> Tensor:
    """Return all gradients in the order of the parameters' names; zeros where there is none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for _, p in sorted(network.named_parameters())]
    return torch.cat([part.flatten().float() for part in parts])


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Return the length of the difference relative to theirs."""
    return float((ours - theirs).norm() / theirs.norm())


def timed(benches: dict[str, Bench], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return seconds by part and bench, one per round; benches take turns, a first round is not counted."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for counted in (False, *[True] * rounds):
        for part in next(iter(benches.values())).parts():
            for name, bench in benches.items():
                taken = seconds_of(bench, bench.parts()[part])
                if counted:
                    seconds.setdefault(part, {}).setdefault(name, []).append(taken)
    return seconds


def seconds_of(bench: Bench, part: Callable[[], object]) -> float:
    """Return what a part takes, with nothing waiting on the device before or after."""
    bench.sync()
    began = time.perf_counter()
    part()
    bench.sync()
    return time.perf_counter() - began


def whole_steps(bench: Bench, rounds: int, count: int) -> list[float]:
    """Return seconds per step of ours, of each round of so many steps; a first round is not counted."""
    taken = [seconds_of(bench, partial(bench.train, count)) for _ in range(rounds + 1)]
    return [seconds / count for seconds in taken[1:]]


def peak_memory(bench: Bench) -> dict[str, float]:
    """Return, for a GPU, the GB that each part takes above what stays allocated."""
    peaks = {}
    for name, part in bench.parts().items() if bench.device.type == "cuda" else ():
        bench.sync()
        torch.cuda.reset_peak_memory_stats(bench.device)
        held = torch.cuda.memory_allocated(bench.device)
        part()
        bench.sync()
        peaks[name] = (torch.cuda.max_memory_allocated(bench.device) - held) / 1e9
    return peaks


def seconds_per_kimg(config: TrainingConfig, seconds: dict[str, float]) -> float:
    """Return what a thousand training images take, from the seconds of each part."""
    path = 1 / config.path_interval if config.path_weight else 0.0  # without its weight there is no such step
    weights = {"Gmain": 1.0, "Greg": path, "Dmain": 1.0, "Dreg": 1 / config.r1_interval}
    step = sum(seconds[name] * weight for name, weight in {**weights, "EMA": 1.0, "data": 1.0}.items())
    return step / config.batch * 1000


def report(
    config: TrainingConfig, seconds: dict[str, dict[str, list[float]]], steps: Sequence[float] = ()
) -> dict[str, Any]:
    """Return medians, minima and what follows from them; `steps` are the seconds of whole steps of ours."""
    names = list(next(iter(seconds.values())))
    result: dict[str, Any] = {}
    for statistic, of in {"median": statistics.median, "min": min}.items():
        found = {name: {part: of(times[name]) for part, times in seconds.items()} for name in names}
        pace = {name: seconds_per_kimg(config, parts) for name, parts in found.items()}
        result[statistic] = {
            "seconds": found,
            "seconds_per_kimg": pace,
            "generated_per_second": {name: DRAWN / parts["generate"] for name, parts in found.items()},
        }
        if steps:
            whole = of(steps)
            result[statistic]["step"] = {"ours": whole}
            result[statistic]["step_seconds_per_kimg"] = {"ours": whole / config.batch * 1000}
    return result


def print_table(result: dict[str, Any]) -> None:
    """Print one line per part: medians, minima in brackets, the peer's ratio to ours."""
    median, least = result["median"], result["min"]
    names = list(median["seconds"])
    print(f"{'':<12}" + "".join(f"{name + ' (min)':>22}" for name in names) + f"{'plain/ours':>14}")
    rows = {
        part: [{name: s["seconds"][name][part] for name in names} for s in (median, least)]
        for part in median["seconds"][names[0]]
    }
    rows["s/kimg"] = [s["seconds_per_kimg"] for s in (median, least)]
    if "step" in median:
        rows["step"] = [s["step"] for s in (median, least)]
        rows["step s/kimg"] = [s["step_seconds_per_kimg"] for s in (median, least)]
    for part, (middle, lowest) in rows.items():
        texts = {name: f"{middle[name]:.4g} ({lowest[name]:.4g})" for name in middle}
        cells = "".join(f"{texts.get(name, ''):>22}" for name in names)
        ratio = f"{middle['plain'] / middle['ours']:>14.2f}" if "plain" in middle else ""
        print(f"{part:<12}{cells}{ratio}")
    drawn = ", ".join(f"{name} {pace:.1f}" for name, pace in median["generated_per_second"].items())
    print(f"generated images/s, batch {DRAWN}: {drawn}")


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what `make` takes, of rounds and of where numbers are written."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (setting, default) in SETTINGS.items():
        kind = type(default or getattr(TrainingConfig(), setting))
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=setting)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    return parser


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--versus", choices=["none", "plain"], default="none")
    parser.add_argument("--keep-freed-memory", action="store_true", help="both sides, as our commands do")
    return parser.parse_args()


def require_usable(chosen: argparse.Namespace) -> None:
    """Refuse, before anything is timed, what would fail after it."""
    if chosen.rounds < 1:
        raise UsageError(f"rounds={chosen.rounds}: nothing to take a median of; valid: 1 or more")
    if chosen.json and (chosen.json.is_dir() or not chosen.json.parent.is_dir()):
        raise UsageError(f"json={chosen.json}: cannot be written; valid: a file in a folder that is there")


def main() -> int:
    """Measure what the command line asks for; return 2 where it cannot be, with one line that says why."""
    try:
        measure(options())
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def measure(chosen: argparse.Namespace) -> None:
    """Print a table, and write JSON."""
    require_usable(chosen)
    ours = make(chosen)
    if chosen.keep_freed_memory:
        keep_freed_memory()
    benches = {"ours": ours}
    result: dict[str, Any] = {"settings": asdict(ours.config), "machine": machine(ours.device)}
    result["machine"]["computed_in"] = str(ours.trainer.g.low)
    if chosen.versus == "plain":
        benches["plain"] = ours.peer()
        result["relative_differences"] = same_numbers(ours, benches["plain"])
    result["all"] = timed(benches, chosen.rounds)
    if ours.device.type == "cuda":
        result["steps"] = whole_steps(ours, chosen.rounds, 2 * ours.config.r1_interval)
    result |= report(ours.config, result["all"], result.get("steps", ()))
    result["gigabytes_above_weights"] = {name: peak_memory(bench) for name, bench in benches.items()}
    print_table(result)
    for name in ("relative_differences", "gigabytes_above_weights", "machine"):
        print(f"{name}: {result.get(name)}")
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the numbers were measured on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    threads = torch.get_num_threads()
    return {"cores": os.cpu_count(), "threads": threads, "gpu": gpu, "torch": torch.__version__}


if __name__ == "__main__":
    sys.exit(main())
