"""What the report of a study says in words.

The other sentences that claim something are made in shared/verdicts.py, close_study/answer.py, shortcuts.py,
synthetic.py and study.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.report.study_facts import (
    arms_named,
    chooses_rounds,
    expert_labels_used,
    few_to_choose,
    measured,
    most_repeats,
    told_errors,
    with_images,
    with_pool,
)
from components.report.words import (
    ABSENT,
    STOPPED,
    count,
    given_starts,
    is_young,
    kimg_in_all,
    limits_of_scans,
    percent,
    plural,
)
from components.shared.intervals import FEWEST_FOR_CLAIM
from components.shared.rounds import MINIMUM_VALIDATION_PATIENTS, unsteady
from components.shared.study import ARMS

QUESTIONS = {
    ("A", "B"): "Headroom: is there anything to gain over few labels?",
    ("E", "C"): "Did the synthetic images help?",
    ("E", "D"): "More than the real planes the GAN was fed?",
    ("C", "B"): "Did classical augmentation help?",
    ("D", "C"): "Did the hidden real planes help?",
    ("E", "F"): "Did it help that the GAN saw planes without a label?",
    ("E", "G"): "Do the pseudo-labels say anything?",
    ("A", "E"): "What do all labels, not augmented, have on synthetic images?",
}
_KINDS = {
    "class": "Class",
    "angle": "Angle (degrees)",
    "offset": "Distance from the centre (mm)",
    "site": "Site",
}


def ended(cell: Mapping[str, Any]) -> str:
    """Return what ended a cell's rounds, in two words; arms without a pool have none."""
    return STOPPED[cell["rounds"][-1]["stop_reason"]] if ARMS[cell["arm"]].pool else ABSENT


def caution(values: Mapping[str, Any]) -> str:
    """Return the sentence that tells what the verdict rests on."""
    patients = plural(values["patients"], "patient")
    if not values["patients"]:
        return "No tested patient has planes of both cuts, so no arm has a balanced accuracy."
    if not measured(values):
        return f"No arm came to its end in every fold, so none of {patients} was measured."
    base = (
        f"Everything below rests on {patients}, each tested by models that have not seen it. Neighbouring"
        " planes of one patient are near-copies, so it is patients that count, however many planes they give."
    )
    if values["patients"] < FEWEST_FOR_CLAIM:
        return f"{base} With fewer than {FEWEST_FOR_CLAIM} of them no test is made."
    return " ".join([base, "Seeds are averaged within a patient.", *_of_folds(values)])


def _of_folds(values: Mapping[str, Any]) -> list[str]:
    if len(values["folds"]) == 1:
        return []
    return [
        "The models of different folds share training patients, so the patients' values are not quite"
        " independent, and no interval here knows of it."
    ]


def division(values: Mapping[str, Any]) -> str:
    """Return who sees which patients, and what the validation patients decide."""
    few, rounds = len(few_to_choose(values)), chooses_rounds(values["parameters"])
    chosen = "the round and the temperature" if rounds and not few else "the temperature"
    if 0 < few < len(values["folds"]):
        chosen += f", and the round in folds with {MINIMUM_VALIDATION_PATIENTS} of them or more"
    return (
        "Patients are divided once, and a known patient never changes fold. What is trained in a fold sees"
        f" its training patients alone; validation patients choose {chosen}; all sessions of a patient are on"
        " one side."
    )


def of_repeats(values: Mapping[str, Any]) -> str:
    """Return what more seeds and more GANs tell, and what they do not."""
    told = ["More seeds make a patient's value surer; they are not more patients."]
    whole = max((len(arm["seeds"] or ()) for arm in values["arms"]), default=0)
    if not values["patients"]:
        return told[0]
    if not whole:
        return f"{told[0]} No seed came to its end in every fold."
    if whole == 1:
        return f"{told[0]} With one whole seed the spread between seeds is not known."
    if any(each["found"]["repeats"] > 1 and each["found"]["interval"] for each in values["comparisons"]):
        told.append(
            "How far the seeds of a fold lie apart widens the intervals of differences, not those of an arm."
        )
    return " ".join([*told, *_of_repeated_gans(values)])


def _of_repeated_gans(values: Mapping[str, Any]) -> list[str]:
    arms = [arm for arm in values["arms"] if arm["letter"] in with_images(values["parameters"]["arms"])]
    if any(arm["spread"] and arm["spread"]["gans"] is not None for arm in arms):
        return ["Where several seeds learn from one of a fold's several GANs, seeds are told from GANs."]
    given = values["parameters"]
    repeated = sorted({arm["letter"] for arm in arms if len(arm["seeds"] or ()) > 1})
    if given["gans"] == 1 or given["seeds"] > given["gans"] or not repeated:
        return []
    return [
        f"Between seeds of {arms_named(repeated)} there may also be what differs between GANs; more seeds"
        " than GANs would tell the two apart."
    ]


def limits(values: Mapping[str, Any], notes: Sequence[str]) -> list[str]:
    """Return what this study cannot show, in plain sentences."""
    found = [*notes, *_of_gans(values), *_of_failures(values), *_of_validation(values)]
    found += [*_of_trainings(values), *_of_drawing(values["parameters"]), *_starts(values)]
    found += _of_flips(values)
    if len(values["folds"]) > 1 and most_repeats(values) > 1:
        found.append(
            "A seed begins with the same weights in every fold: what that does to all folds alike is in no"
            " interval."
        )
    found += [_of_tests(values), *_of_best_rounds(values), *_of_arms(values["parameters"]["arms"])]
    found.append(
        "Planes are cut from volumes by geometry and called noise by their content; no expert labelled them."
    )
    return [*found, *limits_of_scans(), *_of_experts(values)]


def _starts(values: Mapping[str, Any]) -> list[str]:
    made = any("failed" not in source for source in values["synthetic"])
    return given_starts(values["parameters"], gans=made)


def _of_flips(values: Mapping[str, Any]) -> list[str]:
    """Return in which cells, but those of G, a round contradicts the one before."""
    torn = [
        cell["cell"]
        for cell in values["cells"]
        if not ARMS[cell["arm"]].shuffled and any(unsteady(each) for each in cell["rounds"])
    ]
    if not torn:
        return []
    return [
        f"In {plural(len(torn), 'cell')} ({', '.join(torn)}) a round gave other labels to many images that"
        " the round before had accepted: at least one of the two is wrong."
    ]


def _of_trainings(values: Mapping[str, Any]) -> list[str]:
    told = []
    if any(each["found"]["repeats"] == 1 for each in values["comparisons"]):
        told.append(
            "Where two arms share one whole seed, one training of each is compared. Two trainings on the same"
            " planes differ too, and all patients of a fold share that difference, so with one seed nothing"
            " is called shown; more seeds measure it, and widen the intervals of differences by it."
        )
    if any(each["found"]["gans"] == 1 for each in values["comparisons"]):
        told.append(
            "Where all whole seeds learnt from one GAN of a fold, what another one would have changed is in"
            " no interval, so with one GAN nothing is called shown either; more gans measure it, each with a"
            " whole seed."
        )
    return told


def _of_drawing(given: Mapping[str, Any]) -> list[str]:
    if min(given["label_fractions"]) == 1:
        return []
    return [
        f"Which {'patients' if given['label_unit'] == 'patient' else 'planes'} are labelled was drawn once,"
        " for all arms and seeds alike: what another draw would have changed is in no interval."
    ]


def _of_tests(values: Mapping[str, Any]) -> str:
    if not values["comparisons"]:
        return "No two arms are compared."
    if "E" in values["parameters"]["arms"]:
        return (
            "Only E − C, and E − D after it, at the first label fraction can be tests, of six patients or"
            " more; all other differences describe, and some of so many will look like something by chance."
            " The 5 % of these tests is that of one study: another seed, dial or run_name on the same"
            " patients is another look, and adds to it."
        )
    return (
        "No difference is tested, as tests are of arm E; all describe, and some of so many will look like"
        " something by chance."
    )


def _of_best_rounds(values: Mapping[str, Any]) -> list[str]:
    """Return what it does to differences that one arm chooses among trainings and arm C has one."""
    given = values["parameters"]
    if not chooses_rounds(given) or len(few_to_choose(values)) == len(values["folds"]):
        return []
    arms = arms_named(with_pool(given["arms"]))
    told = (
        f"The best of several trainings is published ({arms}), the only one of arm C: by chance alone a"
        " difference to C lies a little above 0 (docs/statistics.md)."
    )
    if given["patience"] == 1:
        return [told]
    return [
        f"{told} With patience={given['patience']} that comes to several points, and far too many studies"
        " without an effect would be called shown: a claim wants patience=1."
    ]


def _of_arms(arms: str) -> list[str]:
    """Return in what else than its name says a comparison's arms differ."""
    told = []
    if set("ABCE") <= set(arms):
        told.append(
            "A − B is the headroom of arms that are not augmented, E − C compares arms that are: augmentation"
            " may have taken a part of it."
        )
    if set("DE") <= set(arms):
        told.append(
            "Hidden labels tell noise from anatomy for E, whose GAN is fed no noise plane, and not for D,"
            " whose pool keeps the noise planes."
        )
    return told


def _of_validation(values: Mapping[str, Any]) -> list[str]:
    folds = few_to_choose(values)
    if not folds:
        return []
    return [
        f"{len(folds)} of {plural(len(values['folds']), 'fold')} had fewer than {MINIMUM_VALIDATION_PATIENTS}"
        " validation patients: to choose the best round by so few would be a coin toss, so there the last one"
        " is published."
    ]


def _of_experts(values: Mapping[str, Any]) -> list[str]:
    told = expert_labels_used(values)
    if not values["parameters"]["expert_labels_uri"]:
        return []
    if not told:
        return ["No label of the expert's is of an image of this study's GANs: none was used."]
    arms = values["parameters"]["arms"]
    said = [
        f"An expert labelled synthetic images, at most {told} of a fold. Arms that learn from"
        " these images are taught the labels, in the cells of the GAN that drew them."
    ]
    if "G" in arms:
        said.append("Arm G is taught them exchanged with the others.")
    if {"D", "E"} <= set(arms):
        said.append("No real plane got one, so E − D compares more than images.")
    return [" ".join(said)]


def _of_gans(values: Mapping[str, Any]) -> list[str]:
    young = [each for each in values["synthetic"] if is_young(each)]
    if not young:
        return []
    return [
        f"The GANs were trained for {count(kimg_in_all(young[0]))} kimg at {young[0]['resolution']} px (the"
        " notebooks: 1,200 at 256), so their pictures are not realistic: what they add here says nothing of"
        " what a longer training would."
    ]


def _of_failures(values: Mapping[str, Any]) -> list[str]:
    failed = len(values["failed"])
    if not failed:
        return []
    return [f"{plural(failed, 'cell')} failed; an arm's seed that failed in one fold is left out in all."]


Errors = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # by arm, by kind of group


def whose_errors(errors: Errors, fraction: float) -> str:
    """Return whose errors the tables tell."""
    of = {("C", "E"): "C without, E with synthetic images", ("C",): "arm C", ("E",): "arm E"}
    if not errors:
        return f"Neither arm C nor arm E was measured at {percent(fraction)} of the labels."
    return (
        f"Share of wrong planes, mean over patients, at {percent(fraction)} of the labels:"
        f" {of[tuple(sorted(errors))]}."
    )


def error_tables(
    errors: Errors,
) -> list[tuple[str, list[tuple[str, Mapping[str, Any], list[Mapping[str, Any] | None]]]]]:
    """Return, for each kind of group, its rows: the group, the first arm's part, and the part of each arm."""
    first = next(iter(errors.values()), {})
    parts = {
        (letter, kind, part["group"]): part
        for letter, kinds in errors.items()
        for kind, found in kinds.items()
        for part in found
    }
    return [
        (
            title,
            [
                (_named(part["group"]), part, [parts.get((letter, kind, part["group"])) for letter in errors])
                for part in first[kind]
            ],
        )
        for kind, title in _KINDS.items()
        if kind in told_errors(errors)
    ]


def _named(group: str | float) -> str:
    if isinstance(group, str):
        return group or "not known"
    return f"{group:+g}".replace("-", "−") if group else "0"
