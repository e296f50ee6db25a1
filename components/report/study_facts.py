"""What the documents of a study's report are filled from: facts that the study knows, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.report import facts
from components.report.shortcuts import Section
from components.report.words import count, listed, percent, plural
from components.shared.intervals import FEWEST_FOR_CLAIM
from components.shared.passports import Passport
from components.shared.rounds import MINIMUM_VALIDATION_PATIENTS
from components.shared.splits import SPLITS
from components.shared.study import ARMS, SYNTHETIC_POOL

_KINDS = {"class": "class", "angle": "angle", "offset": "distance", "site": "site"}


def facts_of_study(
    values: Mapping[str, Any],
    passports: Sequence[Passport],
    simulated: bool,
    copies: str,
    audit: Section,
) -> facts.Facts:
    """Return the facts of a study, above all of one arm at the first label fraction: E where there is one."""
    given, made = values["parameters"], [each for each in values["synthetic"] if "failed" not in each]
    lead = leading_arm(given["arms"])
    return facts.Facts(
        kind=f"{facts.KIND} {facts.WITH_GAN}" if made else facts.KIND,
        aim=facts.AIM
        if "E" in given["arms"]
        else "what few labels, and what is added to them, teach a classifier",
        subject=f"the classifiers of study {values['run']}, above all arm {lead}",
        partitions=_partitions(values["folds"]),
        test=_test(values),
        labels=_labels(given),
        generator=facts.generator(*made) if made else _no_gan(values),
        synthetic=_of_gans(values, made),
        chosen=_chosen(values),
        copies=copies,
        rounds=_rounds(given),
        result=_result(values, lead),
        uncertainty=f"{facts.UNCERTAINTY} {_comparing(values)}",
        errors=_errors(values),
        robustness=_robustness(given, audit),
        shortcuts=facts.shortcuts(audit),
        annotated=facts.annotated(expert_labels_used(values) > 0),
        **facts.shared(values, passports, simulated, values["planes"]),
    )


def leading_arm(arms: str) -> str:
    """Return the arm that a study is about: with synthetic images, else labelled and augmented, else any."""
    return next(letter for letter in ("E", "C", *sorted(arms)) if letter in arms)


def with_pool(arms: str) -> list[str]:
    """Return the arms that do rounds of pseudo-labels."""
    return [letter for letter in sorted(arms) if ARMS[letter].pool]


def with_images(arms: str) -> list[str]:
    """Return the arms that are shown synthetic images."""
    return [letter for letter in sorted(arms) if ARMS[letter].pool == SYNTHETIC_POOL]


def chooses_rounds(given: Mapping[str, Any]) -> bool:
    """Tell whether any cell has rounds to choose among: the first is published only where no other came."""
    return bool(with_pool(given["arms"])) and given["max_rounds"] > 1


def most_repeats(values: Mapping[str, Any]) -> int:
    """Return how many trainings of both classifiers the surest comparison has."""
    return max((each["found"]["repeats"] for each in values["comparisons"]), default=0)


def few_to_choose(values: Mapping[str, Any]) -> list[int]:
    """Return the folds with too few validation patients to choose a round by; none without rounds."""
    if not chooses_rounds(values["parameters"]):
        return []
    return [fold["fold"] for fold in values["folds"] if len(fold["validation"]) < MINIMUM_VALIDATION_PATIENTS]


def expert_labels_used(values: Mapping[str, Any]) -> int:
    """Return the most of an expert's labels that a cell of a study was taught: those of its fold's images."""
    return max((cell["expert_labels"] for cell in values["cells"]), default=0)


def images_kept(copies: Mapping[str, Any]) -> int:
    """Return how many of a GAN's images were left once copies were dropped."""
    return int(copies["images"] - copies["dropped"])


def measured(values: Mapping[str, Any]) -> bool:
    """Tell whether any arm was: only a seed that came to its end in every fold is."""
    return any(arm["value"] is not None for arm in values["arms"])


def _test(values: Mapping[str, Any]) -> str:
    if not values["patients"]:
        return "no patient: none has planes of both cuts"
    if not measured(values):
        return "no patient: no arm came to its end in every fold"
    return f"{plural(values['patients'], 'tested patient')}, by models that have not seen them"


def told_errors(errors: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[str]:
    """Return the kinds of groups by which errors are told: those with more than one group."""
    return [kind for kind, parts in next(iter(errors.values()), {}).items() if len(parts) > 1]


def _errors(values: Mapping[str, Any]) -> str:
    kinds = [_KINDS[kind] for kind in told_errors(values["errors"])]
    if not kinds:
        return (
            "Errors by group are told of arms C and E, and neither was measured at"
            f" {percent(values['parameters']['label_fractions'][0])} of the labels."
        )
    return f"Errors by {listed(kinds)} are in the section Where it errs."


def _partitions(folds: Sequence[Mapping[str, Any]]) -> str:
    sides = ", ".join(f"{side}: {plural(len(folds[0][side]), 'patient')}" for side in SPLITS)
    return f"{plural(len(folds), 'fold')} of patients, each to be tested once; in fold 0 {sides}"


def _labels(given: Mapping[str, Any]) -> str:
    told = facts.labels(given, *given["label_fractions"])
    return f"{told} (arm A: all)" if "A" in given["arms"] else told


def _rounds(given: Mapping[str, Any]) -> str:
    pooled = with_pool(given["arms"])
    if not pooled:
        return "one round in each cell"
    told = f"up to {plural(given['max_rounds'], 'round')} after the first in {arms_named(pooled)}"
    return told if len(pooled) == len(given["arms"]) else f"{told}, one in the others"


def arms_named(letters: Sequence[str]) -> str:
    """Return arms as a reader would say them: arm E, or arms D and E."""
    return f"arm{'s' if len(letters) > 1 else ''} {listed(letters)}"


def _chosen(values: Mapping[str, Any]) -> str:
    if not chooses_rounds(values["parameters"]):
        return "nothing to choose: each cell has one round that may be published"
    few, folds = len(few_to_choose(values)), len(values["folds"])
    if few in (0, folds):
        return facts.LAST if few else facts.CHOSEN
    return f"{facts.CHOSEN}; in {few} of {folds} folds, with too few of them, the last round"


def _comparing(values: Mapping[str, Any]) -> str:
    compared = values["comparisons"]
    if not compared:
        return "No two arms are compared."
    interval = "Student's interval"
    if not any(each["found"]["interval"] for each in compared):
        interval = "no interval, of fewer than three patients"
    elif most_repeats(values) > 1:
        interval += ", widened by how far seeds and GANs lie apart where there are several"
    if values["patients"] < FEWEST_FOR_CLAIM:
        return f"Differences: {interval}; with fewer than {FEWEST_FOR_CLAIM} tested patients no test is made."
    tested = [f"{each['model']} − {each['other']}" for each in compared if each["role"] == "tested"]
    if not tested:
        return f"Differences: {interval}; none is tested."
    order = ", then ".join(tested)
    return f"Differences: {interval}; tested by exchanging the two arms' names patient by patient: {order}."


def _no_gan(values: Mapping[str, Any]) -> str:
    return "no GAN came to its end" if values["synthetic"] else "no arm asks for a GAN"


def _of_gans(values: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> str:
    if not made:
        return f"none: {_no_gan(values)}"
    kept = sum(images_kept(source["quality"]["copies"]) for source in made)
    return facts.inherited(f"{count(kept)} images of {plural(len(made), 'GAN')}", facts.generator(*made))


def _result(values: Mapping[str, Any], lead: str) -> str:
    """Return what the leading arm came to at the first label fraction."""
    first = values["parameters"]["label_fractions"][0]
    wanted = 1.0 if ARMS[lead].all_labels else first
    arm = next(each for each in values["arms"] if (each["letter"], each["fraction"]) == (lead, wanted))
    if arm["value"] is None:
        return f"arm {lead} was not measured at {percent(wanted)} of the labels"
    return f"arm {lead}: {facts.result(arm['value'], arm['interval'])}"


def _robustness(given: Mapping[str, Any], audit: Section) -> str:
    extra = [letter for letter in "FG" if letter in given["arms"]]
    repeats = [plural(given["folds"], "fold"), plural(given["seeds"], "seed")]
    return ", ".join([facts.looked_for(audit), *([arms_named(extra)] if extra else []), *repeats])
