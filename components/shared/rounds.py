"""The rules of the pseudo-label rounds: when they stop and which one is published.

Pure functions of the sealed rounds, so that the gate, the relabelling and the report cannot disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ACCEPTED, BELOW, REJECTED, CAPPED, SCORED = "accepted", "below", "rejected", "capped", "scored"
POOL_EMPTY, NO_GAIN, MAX_ROUNDS = "pool_empty", "no_gain", "max_rounds"
STABLE, NOTHING_ACCEPTED = "stable", "nothing_accepted"
# relabel: judge the whole pool each round, or what is left (the notebook)
ALL, REMAINING = "all", "remaining"
# threshold_rule: one for all classes (the notebook), or one by how much of a class is known
GLOBAL, ADAPTIVE = "global", "adaptive"

STABLE_CHANGE = 0.01  # share of the accepted set, under which another round would learn the same again
# Of the images that a round was taught, the share that it may itself give another label. The round before was
# sure of them; where labels are exchanged at random between two equal classes, about half of them differ.
FLIPS_BOUND = 0.2
_FLIPS_OF = 20  # images, under which a share of them says nothing

# Under this many validation patients, "did the loss fall?" is a coin toss.
MINIMUM_VALIDATION_PATIENTS = 4

Round = Mapping[str, Any]  # what round.json holds


@dataclass(frozen=True, kw_only=True)
class RoundRule:
    """When to stop: set once for a run, before its first round."""

    max_rounds: int  # rounds with pseudo-labels; round 0 comes on top
    patience: int  # rounds without gain that are borne before stopping
    min_gain: float  # nats of mean per-patient validation loss that count as a gain
    relabel: str
    validation_patients: int

    @property
    def trusts_validation(self) -> bool:
        """Whether there are enough validation patients to stop and choose by their loss."""
        return self.validation_patients >= MINIMUM_VALIDATION_PATIENTS


def stop_reason(rounds: Sequence[Round], rule: RoundRule) -> str:
    """Return why no round follows the last of `rounds`, or "" when one does.

    A sealed reason stands. An accepted set is always trained on, so a pool that a round used up ends the loop
    one round later. With relabel=all the pool is judged anew each round and never used up. Where nothing was
    accepted the next round would be round 0 again.
    """
    if not rounds or rounds[-1]["stop_reason"]:
        return str(rounds[-1]["stop_reason"]) if rounds else ""
    last, later = rounds[-1], rounds[-1]["round"] >= 1
    if later and rule.relabel == REMAINING and rounds[-2]["below"] + rounds[-2]["capped"] == 0:
        return POOL_EMPTY
    if later and rule.trusts_validation and _rounds_without_gain(rounds, rule.min_gain) >= rule.patience:
        return NO_GAIN
    if last["round"] >= rule.max_rounds:
        return MAX_ROUNDS
    if not sum(last["accepted"].values()):
        return NOTHING_ACCEPTED
    return STABLE if later and last["changed"] < STABLE_CHANGE else ""


def _rounds_without_gain(rounds: Sequence[Round], min_gain: float) -> int:
    best, since = rounds[0]["validation"]["mean_patient_loss"], 0
    for entry in rounds[1:]:
        loss = entry["validation"]["mean_patient_loss"]
        best, since = (loss, 0) if loss < best - min_gain else (best, since + 1)
    return since


def best_round(rounds: Sequence[Round], rule: RoundRule) -> int:
    """Return the round to publish: the lowest validation loss of rounds >= 1, or the last one.

    Only without any pseudo-label round, where round 0 accepted nothing, is it round 0.
    """
    candidates = [entry for entry in rounds if entry["round"] >= 1] or list(rounds)
    if not rule.trusts_validation:
        return int(candidates[-1]["round"])
    return int(min(candidates, key=lambda entry: entry["validation"]["mean_patient_loss"])["round"])


def model_name(round_number: int) -> str:
    """Return the name under which a round's classifier is evaluated."""
    return f"round_{round_number:03}"


def unsteady(entry: Round) -> str:
    """Return a warning where the labels of a round contradict those of the round before, else ""."""
    taught, flips = entry["taught"], entry["taught_flips"]
    if taught < _FLIPS_OF or flips <= FLIPS_BOUND * taught:
        return ""
    return (
        f"round {entry['round']}: of the {taught} images that the round before accepted, it gives {flips}"
        " another label; at least one of the two is wrong"
    )
