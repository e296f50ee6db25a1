"""How a report says numbers, names and verdicts, and what a run's may claim.

The other sentences that claim something are made in shared/verdicts.py, shortcuts.py and synthetic.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.shared.intervals import FEWEST_FOR_CLAIM
from components.shared.rounds import (
    MAX_ROUNDS,
    MINIMUM_VALIDATION_PATIENTS,
    NO_GAIN,
    NOTHING_ACCEPTED,
    POOL_EMPTY,
    STABLE,
)
from components.shared.splits import VALIDATION

REALISTIC_KIMG = 100.0  # below this a GAN trained from scratch draws no believable plane
SUPERVISED, LABELLED_ONLY, FIRST_ROUND = "supervised", "labelled_only", "round_000"
ABSENT = "–"
STOP_REASONS = {
    POOL_EMPTY: "the pool of synthetic images was used up",
    NO_GAIN: "no gain on real validation patients",
    STABLE: "under 1 % of the accepted images and labels would have changed",
    NOTHING_ACCEPTED: "no image was accepted, and the labelled planes alone would have been trained on again",
    MAX_ROUNDS: "the set number of rounds was reached",
}
STOPPED = {  # the same, where there is room for two words
    POOL_EMPTY: "pool used up",
    NO_GAIN: "no gain",
    STABLE: "same images",
    NOTHING_ACCEPTED: "none accepted",
    MAX_ROUNDS: "rounds used up",
}


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return ABSENT if value is None else f"{100 * value:.1f} %"


def decimal(value: float | None) -> str:
    """Return a number with three decimals."""
    return ABSENT if value is None else f"{value:.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals; what would read as nought is said to be less."""
    return "< 0.001" if value is not None and value < 0.0005 else decimal(value)


def count(value: float | None) -> str:
    """Return a count with thousands set apart; a fraction keeps up to two decimals."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def rounded(value: float | None) -> str:
    """Return a mean count as a reader wants it: whole from ten on, else with at most one decimal."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if value >= 10 or float(value).is_integer() else f"{value:.1f}"


def points(value: float) -> str:
    """Return a difference of two shares in percentage points, with its sign."""
    return f"{round(100 * value, 1) + 0.0:+.1f} pt".replace("-", "−")


def plural(number: int, noun: str) -> str:
    """Return a counted noun: 1 patient, 3 patients."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """Return items as a reader would say them: a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else "none"


def round_number(model: str) -> int:
    """Return k of round_00k."""
    return int(model.removeprefix("round_"))


def model_name(model: str, published: str) -> str:
    """Return what the report calls a model."""
    if model == SUPERVISED:
        return "All labels"
    name = "Labelled only" if model in (LABELLED_ONLY, FIRST_ROUND) else ""
    name = name or f"Round {round_number(model)}"
    return f"{name}, published" if model == published else name


def compared(metrics: Mapping[str, Any]) -> list[str]:
    """Return the models a reader compares, each once: supervised, labelled only, round 1, 2, ..."""
    rounds = sorted(name for name in metrics["models"] if name.startswith("round_"))
    return [name for name in (SUPERVISED, *rounds) if name in metrics["models"]]


def verdict(metrics: Mapping[str, Any]) -> str:
    """Return the one line the page opens with; it never names a winner without a paired test."""
    patients = plural(metrics["test_patients"], "patient")
    if metrics["test_patients"] < FEWEST_FOR_CLAIM:
        return f"n = {patients}: no claim possible"
    gain = _gain(metrics)
    if gain is None:
        return f"{patients}: no round with pseudo-labels was published, so nothing is compared"
    return f"{points(gain)} of balanced accuracy with synthetic images, {patients}: described, not tested"


def _gain(metrics: Mapping[str, Any]) -> float | None:
    models, best = metrics["models"], metrics["best_round"]
    after, before = models[best]["balanced_accuracy"], models[FIRST_ROUND]["balanced_accuracy"]
    return None if best == FIRST_ROUND or after is None or before is None else float(after - before)


def caution(metrics: Mapping[str, Any]) -> str:
    """Return the sentence that tells what the verdict rests on."""
    patients = plural(metrics["test_patients"], "unseen patient")
    base = (
        f"Everything below rests on {patients}. Neighbouring planes of one patient are near-copies, so it is"
        " patients that count, however many planes they give."
    )
    if metrics["test_patients"] < FEWEST_FOR_CLAIM:
        return (
            f"{base} With fewer than {FEWEST_FOR_CLAIM} of them the values are shown patient by patient,"
            " and none of the classifiers is called better than another."
        )
    return f"{base} The difference is the published round less labelled only; no paired test was made."


def limits(metrics: Mapping[str, Any], notes: Sequence[str]) -> list[str]:
    """Return what this run cannot show, in plain sentences."""
    found = [*notes, _test_limit(metrics), _validation_limit(metrics), _gan_limit(metrics)]
    found += given_starts(metrics["parameters"], gans=True)
    found.append(
        "A pseudo-label is the classifier's own guess about an image that no expert has seen; errors that the"
        " classifier makes with confidence are taught to the next round."
    )
    found.append(
        "Planes are cut from volumes by geometry and called noise by their content; no expert labelled them."
    )
    return [sentence for sentence in (*found, *limits_of_scans()) if sentence]


def limits_of_scans() -> list[str]:
    """Return what is taken on trust of every scan, whatever is done with it."""
    return [
        "Which axis runs from front to back and which up and down is taken from the header, and nothing"
        " checks it: look at the pictures.",
        "A scan that was cropped, padded, resampled, flipped, moved or converted to another type of numbers"
        " is not known again: only its patient's name then tells whose it is.",
    ]


def _test_limit(metrics: Mapping[str, Any]) -> str:
    few = metrics["test_patients"] < FEWEST_FOR_CLAIM
    end = (
        "too few for any claim about new patients."
        if few
        else "other scanners and hospitals are not covered."
    )
    return f"{plural(metrics['test_patients'], 'test patient')}: {end}"


def _validation_limit(metrics: Mapping[str, Any]) -> str:
    patients = len(metrics["patients"][VALIDATION])
    if patients >= MINIMUM_VALIDATION_PATIENTS:
        return ""
    return (
        f"{plural(patients, 'validation patient')}: to choose the best round by so few would be a coin toss,"
        " so the number of rounds was fixed and the last one is published."
    )


def _gan_limit(metrics: Mapping[str, Any]) -> str:
    if not is_sketch(metrics):
        return (
            "Copies of training planes are looked for in low-passed grey: what repeats no more than a small"
            " detail of one is not found."
        )
    gan = metrics["gan"]
    return (
        f"The GAN was trained for {count(kimg_in_all(gan))} kimg at {gan['resolution']} px, so its pictures"
        " are not realistic: this run proves the flow, not image quality."
    )


def is_sketch(metrics: Mapping[str, Any]) -> bool:
    """Tell whether the GAN is too young for its pictures to mean anything."""
    return is_young(metrics["gan"])


def is_young(gan: Mapping[str, Any]) -> bool:
    """Tell whether a GAN, with those it went on from, is known to have been trained for too short."""
    return gan.get("kimg_before") is not None and kimg_in_all(gan) < REALISTIC_KIMG


def kimg_in_all(gan: Mapping[str, Any]) -> float:
    """Return how long a GAN learnt, with those it went on from."""
    return float(gan["kimg"] + gan["kimg_before"])


def given_starts(given: Mapping[str, Any], gans: bool) -> list[str]:
    """Return what is taken on trust of the weights that a run was given; `gans` tells whether it has any."""
    told = []
    if given["pretrained_uri"]:
        told.append(
            "The classifiers began with given weights: a classifier of this suite names whom it has seen;"
            " other weights are taken to have seen none of these patients."
        )
    if given["gan_resume_uri"] and gans:
        told.append(
            "Every GAN began with a given generator: one of this suite names whom it has seen; an imported"
            " one is taken to have seen none of these patients, and so are its images."
        )
    return told
