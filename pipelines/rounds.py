"""The command `rounds`: the rounds of a run as a table, or one of them copied out of the ledger."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.shared import storage
from components.shared.faults import InputError
from components.shared.history import reopen
from components.shared.ledger import Ledger
from components.shared.planes import GAN_CLASSES
from components.shared.rounds import Round, RoundRule, best_round
from components.shared.study import CELLS

_COLUMNS = (
    "round", "labelled", "pseudo", "val. loss", "val. balanced", "judged", *GAN_CLASSES, "below", "capped",
    "rejected", "changed", "flips", "evicted", "stop",
)  # fmt: skip


def add_command(commands: Any) -> None:
    """Add it to the command line."""
    showing = commands.add_parser("rounds", help="show a run's rounds, or copy one out")
    showing.add_argument("--state-uri", required=True, help="the run's state, e.g. out/state")
    showing.add_argument("--run", required=True, help="its name, which the report opens with")
    showing.add_argument("--round", type=int, help="number of the round to copy out")
    showing.add_argument("--to", type=Path, help="empty folder for classifier, labels.csv, round.json")
    showing.set_defaults(command=_show)


def _show(options: argparse.Namespace) -> None:
    if (options.round is None) != (options.to is None):
        raise InputError("--round and --to: one without the other; valid: both, or none for the table")
    ledger = Ledger(state_uri=options.state_uri, run=options.run)
    try:
        if not ledger.has_rounds:
            place = storage.join(ledger.uri, CELLS)
            raise InputError(
                f"--run {options.run}: a study; valid: --state-uri {place} --run CELL, as its report names"
                " cells"
            )
    except FileNotFoundError as error:
        raise InputError(f"--run {options.run}: no ledger at {ledger.uri}; valid: a run's name") from error
    if options.round is not None:
        reopen(ledger, options.round, options.to)
        said = f"round {options.round} is in {options.to}"
    else:
        said = told(ledger.rounds(), ledger.rule())
    print(said)  # noqa: T201


def told(rounds: Sequence[Round], rule: RoundRule) -> str:
    """Return the rounds as a table, and by what the marked one is chosen."""
    if not rounds:
        return "no round is sealed yet"
    chosen = "of rounds from 1 on that with the lowest loss on validation patients"
    if not rule.trusts_validation:
        chosen = f"the last one, as {rule.validation_patients} validation patients are too few to choose by"
    word, last = "the best so far", ""
    if rounds[-1]["stop_reason"]:
        word, last = "published", "; the last round accepts nothing, as nobody would train on it"
    return f"{table(rounds, best_round(rounds, rule))}\n* {word}: {chosen}{last}"


def table(rounds: Sequence[Round], best: int) -> str:
    """Return the rounds in aligned columns, the best marked."""
    lines = [_COLUMNS, *(_cells(entry, entry["round"] == best) for entry in rounds)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(entry: Mapping[str, Any], best: bool) -> tuple[str, ...]:
    measured, changed = entry["validation"], entry["changed"]
    accuracy = measured["balanced_accuracy"]
    return (
        f"{'*' if best else ''}{entry['round']}",
        f"{entry['labelled']}",
        f"{sum(entry['trained_on_pseudo'].values())}",
        f"{measured['mean_patient_loss']:.3f}",
        "-" if accuracy is None else f"{100 * accuracy:.1f} %",
        f"{entry['pool']}",
        *(f"{entry['accepted'][label]}" for label in GAN_CLASSES),
        f"{entry['below']}",
        f"{entry['capped']}",
        f"{entry['rejected']}",
        "-" if changed is None else f"{100 * changed:.1f} %",
        f"{entry['flips']}",
        f"{entry['evicted']}",
        entry["stop_reason"],
    )
