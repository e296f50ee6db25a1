"""What two busy torch processes do to each other on the same cores, spinning or sleeping while they wait.

python benchmarks/shared_cores.py prints convolution steps a second: alone, and each of two at once.
"""

import argparse
import os
import subprocess
import sys
import time

_WARM_UP_S = 2.0


def steps_per_second(seconds: float) -> float:
    """Train a small convolution for some seconds in this process."""
    import torch

    network = torch.nn.Sequential(
        torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1)
    ).to(memory_format=torch.channels_last)
    images = torch.randn(32, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    done, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        network(images).sum().backward()
        done += 1
    return done / (time.monotonic() - begun)


def measure(processes: int, policy: str, seconds: float) -> list[float]:
    """Return the steps a second of each of some processes that run at once."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    command = [sys.executable, __file__, "--worker", "--seconds", str(seconds)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(processes)
    ]
    return [float(process.communicate()[0]) for process in running]


def main() -> None:
    """Print the table, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        steps_per_second(_WARM_UP_S)
        print(steps_per_second(options.seconds))
        return
    for policy in ("ACTIVE", "PASSIVE"):
        for processes in (1, 2):
            rates = measure(processes, policy, options.seconds)
            print(f"{policy:<8} {processes} at once: " + ", ".join(f"{rate:.1f} steps/s" for rate in rates))


if __name__ == "__main__":
    main()
