"""How far gradients in bfloat16 are from float32's, by PyTorch's direct sums alone and with Winograd's tiles.

python benchmarks/gan_rounding.py --res 64 --batch 8 --threads 2 [--json FILE]

Same weights, images and draws for all, of networks that have learnt nothing but the steps before: the length
of the difference relative to float32's, phase by phase, least to largest over the draws, and the mean ratio
of tiles to direct on the same draw. It needs a processor that multiplies bfloat16.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from gan_training import PHASES, Bench, distance, gradient, make
from stylegan2_ada import winograd
from stylegan2_ada.devices import computed_in
from torch import Tensor

WAYS = {"float32": "fp32", "direct": "bf16", "tiles": "bf16"}


@contextmanager
def convolving(way: str) -> Iterator[None]:
    """Let wide layers of bfloat16 come from tiles, or from direct sums, whatever the processor."""
    with mock.patch.object(winograd, "_has_vectors_for_bfloat16", lambda: way == "tiles"):
        yield


def differences(benches: dict[str, Bench], phase: str) -> dict[str, float]:
    """Return how far the gradients of each way are from float32's on one draw."""
    exact = benches["float32"]
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in networks(exact)]
    chance = exact.chance()
    found: dict[str, Tensor] = {}
    for way, bench in benches.items():
        for network, weights in zip(networks(bench), before, strict=True):
            network.load_state_dict(weights)
        with convolving(way):
            bench.phase(phase, chance)
        found[way] = gradient(networks(bench)[phase in ("Dmain", "Dreg")])
    return {way: distance(found[way], found["float32"]) for way in ("direct", "tiles")}


def networks(bench: Bench) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return generator and discriminator."""
    return bench.trainer.g, bench.trainer.d


def main() -> None:
    """Print one line per phase, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--res", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args()
    if computed_in("bf16", torch.device("cpu")) != torch.bfloat16:
        parser.error("this processor computes bfloat16 in float32")
    cfg = {"res": options.res, "batch": options.batch, "threads": options.threads, "pipe": "bgc", "p": 0.3}
    benches = {way: make({**cfg, "dtype": dtype}) for way, dtype in WAYS.items()}
    rows = {phase: [differences(benches, phase) for _ in range(options.draws)] for phase in PHASES}
    for phase, draws in rows.items():
        direct, tiles = ([draw[way] for draw in draws] for way in ("direct", "tiles"))
        ratio = statistics.geometric_mean(b / a for a, b in zip(direct, tiles, strict=True))
        print(f"{phase:<6} direct {min(direct):.3f} to {max(direct):.3f}", end="  ")
        print(f"tiles {min(tiles):.3f} to {max(tiles):.3f}  tiles / direct {ratio:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
