"""Seconds that each stage of a finished laptop run took: python benchmarks/stages.py ROOT [--json FILE].

It reads ROOT/events.jsonl of the last run, so run into a fresh ROOT, on a machine that does nothing else.
"""

import argparse
import json
from pathlib import Path

from machine import machine


def seconds_by_stage(events: Path) -> dict[str, float]:
    """Return the seconds between each stage's start and its end; the rounds' stages are added up."""
    started: dict[str, float] = {}
    taken: dict[str, float] = {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        stage = event["stage"]
        if event["event"] == "start":
            started[stage] = event["time"]
        elif event["event"] == "done":
            name = stage.partition(": ")[2] + ", all rounds" if stage.startswith("round ") else stage
            taken[name] = taken.get(name, 0.0) + event["time"] - started[stage]
    return taken


def main() -> None:
    """Print a table, or write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    taken = seconds_by_stage(options.root / "events.jsonl")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "seconds": taken}, indent=2) + "\n")
    for name, seconds in taken.items():
        print(f"{name:<36}{seconds:>8.1f} s")
    print(f"{'all':<36}{sum(taken.values()):>8.1f} s   {machine()}")


if __name__ == "__main__":
    main()
