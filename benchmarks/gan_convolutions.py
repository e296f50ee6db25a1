"""Milliseconds of the 3x3 convolutions of `--cfg auto` by tiles and by PyTorch's direct sum, in turn.

python benchmarks/gan_convolutions.py --threads 2 [--dtype bf16] [--json FILE]

It decides what stylegan2_ada/winograd.py takes from tiles: where the ratio is above 1, tiles are faster.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from stylegan2_ada import winograd_tiles
from stylegan2_ada.devices import TYPES
from torch import Tensor
from torch.nn import functional

# Images, channels in and out, pixels a side of the results, stride: 64 px with batch 8, 256 px with batch 4.
SHAPES = (
    (8, 256, 256, 64, 1), (8, 256, 512, 32, 2), (8, 512, 512, 32, 1), (8, 512, 512, 16, 2),
    (8, 512, 512, 16, 1), (8, 512, 512, 8, 2), (8, 512, 512, 8, 1), (8, 512, 512, 4, 2),
    (4, 64, 64, 256, 1), (4, 64, 128, 128, 2), (4, 128, 128, 128, 1), (4, 128, 256, 64, 2),
    (4, 256, 256, 64, 1), (8, 64, 64, 64, 1), (8, 64, 64, 32, 2), (8, 64, 64, 16, 1),
)  # fmt: skip
Ways = dict[str, Callable[[], Tensor]]
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}  # of the largest value


def channels_last(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return noise in the layout of training."""
    return torch.randn(shape).to(dtype, memory_format=torch.channels_last)


def calls(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Ways]:
    """Return what is timed of a shape; tiles convolve at stride 1 alone."""
    n, inputs, outputs, size, stride = shape
    padding = 2 - stride
    read = size if stride == 1 else 2 * size + 1
    x_NIHW = channels_last(n, inputs, read, read, dtype=dtype)
    y_NOHW = channels_last(n, outputs, size, size, dtype=dtype)
    weight_OIKK = channels_last(outputs, inputs, 3, 3, dtype=dtype) / (9 * inputs) ** 0.5

    def gradient() -> Tensor:
        """Return the weights' gradient alone, by the function that PyTorch's autograd calls."""
        found: Tensor = torch.ops.aten.convolution_backward(
            y_NOHW, x_NIHW, weight_OIKK, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1,
            [False, True, False],
        )[1]  # fmt: skip
        return found

    found: dict[str, Ways] = {
        "gradient": {
            "direct": gradient,
            "tiles": lambda: winograd_tiles.weight_gradient(x_NIHW, y_NOHW, stride),
        }
    }
    if stride == 1:
        found["convolution"] = {
            "direct": lambda: functional.conv2d(x_NIHW, weight_OIKK, padding=padding),
            "tiles": lambda: winograd_tiles.convolve(x_NIHW, weight_OIKK, None, turned=False),
        }
    return found


def least(ways: Ways, rounds: int) -> dict[str, float]:
    """Return the fewest milliseconds of each way, in turn; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, call in ways.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: 1000 * min(found[1:]) for name, found in seconds.items()}


def measure(shape: tuple[int, ...], dtype: torch.dtype, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each thing that is timed; ArithmeticError where both ways differ."""
    rows = []
    for name, ways in calls(shape, dtype).items():
        direct, tiles = ways["direct"](), ways["tiles"]()
        if (direct - tiles).abs().max() > TOLERANCE[dtype] * direct.abs().max():
            raise ArithmeticError(f"{shape}: {name} by tiles is another")
        found = least(ways, rounds)
        rows.append({"shape": shape, "of": name, **found, "ratio": found["direct"] / found["tiles"]})
    return rows


def main() -> None:
    """Print one line per shape, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16: stride 1 alone")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    processor = torch.backends.cpu.get_cpu_capability()
    print(f"{processor}, {options.threads} threads; images, in, out, pixels, stride: direct / tiles = ratio")
    dtype = TYPES[options.dtype]
    shapes = [shape for shape in SHAPES if dtype == torch.float32 or shape[-1] == 1]
    rows = [row for shape in shapes for row in measure(shape, dtype, options.rounds)]
    for row in rows:
        times = f"{row['direct']:8.1f} / {row['tiles']:6.1f} = {row['ratio']:.2f}"
        print(f"{row['shape']!s:<26}{row['of']:<12}{times}")
    if options.json:
        options.json.write_text(
            json.dumps({"capability": processor, "dtype": options.dtype, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
