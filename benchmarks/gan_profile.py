"""What a training step's time goes into: arithmetic of each phase, its share of the device's pace, operators.

python benchmarks/gan_profile.py --res 256 --batch 16 --device cuda [--json FILE] [--operators 15]

Arithmetic is what convolutions and products of matrices really do (from Winograd's tiles it is less than that
of the sums they stand for), a multiplication and an addition counted as two. The pace it is held against is
that of one large product of matrices on the same device, in the type that the networks' wide blocks compute
in, timed in the same run: no data sheet is believed. Phases without much arithmetic show what is not hidden.
"""

import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from gan_training import PHASES, Bench, machine, make, parser_of, require_usable, seconds_of, timed
from stylegan2_ada.errors import UsageError
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

_ROUNDS = 5
_SIDES = {"cpu": 2048, "cuda": 8192}  # of the matrices whose product is timed


def arithmetic(part: Callable[[], object]) -> int:
    """Return the operations of a phase's convolutions and products."""
    with FlopCounterMode(display=False) as counter:
        part()
    return int(counter.get_total_flops())


def pace(bench: Bench) -> float:
    """Return operations a second of one large product of matrices, the best of a few."""
    side = _SIDES[bench.device.type]
    a, b = torch.randn(2, side, side, device=bench.device, dtype=bench.trainer.g.low)
    return 2 * side**3 / min(seconds_of(bench, lambda: torch.mm(a, b)) for _ in range(_ROUNDS))


def operators(bench: Bench, part: Callable[[], object], count: int) -> str:
    """Return a table of the operators that a phase spends most on."""
    activities, by = [ProfilerActivity.CPU], "self_cpu_time_total"
    if bench.device.type == "cuda":
        activities, by = [*activities, ProfilerActivity.CUDA], "self_device_time_total"
    with profile(activities=activities) as found:
        part()
        bench.sync()
    return str(found.key_averages().table(sort_by=by, row_limit=count, max_name_column_width=50))


def measured(bench: Bench, rounds: int) -> dict[str, dict[str, float]]:
    """Return seconds, operations and share of the pace of every phase."""
    seconds, best, parts = timed({"ours": bench}, rounds), pace(bench), bench.parts()
    found = {}
    for name in PHASES:
        spent, done = statistics.median(seconds[name]["ours"]), arithmetic(parts[name])
        found[name] = {"seconds": spent, "operations": done, "share": done / spent / best}
    return found | {"product of matrices": {"operations_per_second": best}}


def main() -> int:
    """Print one line per phase, tables where they are asked for, and write JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--operators", type=int, default=0, help="so many a phase, in a table")
    chosen = parser.parse_args()
    try:
        require_usable(chosen)
        bench = make(chosen)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    result: dict[str, Any] = {"phases": measured(bench, chosen.rounds), "machine": machine(bench.device)}
    print_phases(result["phases"])
    for name in PHASES if chosen.operators else ():
        print(name, operators(bench, bench.parts()[name], chosen.operators), sep="\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def print_phases(found: dict[str, dict[str, float]]) -> None:
    """Print seconds, operations and share, one line per phase."""
    print(f"{'':<8}{'s':>10}{'TFLOP':>10}{'TFLOP/s':>10}{'share':>8}")
    for name in PHASES:
        spent, done = found[name]["seconds"], found[name]["operations"] / 1e12
        print(f"{name:<8}{spent:>10.4g}{done:>10.4g}{done / spent:>10.4g}{found[name]['share']:>8.0%}")
    print(
        f"one product of matrices: {found['product of matrices']['operations_per_second'] / 1e12:.3g} TFLOP/s"
    )


if __name__ == "__main__":
    sys.exit(main())
