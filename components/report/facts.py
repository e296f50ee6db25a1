"""What the documents at a report's end are filled from: facts that the run knows, and nothing else."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.report.words import count, listed, percent, plural
from components.shared.comparisons import FEWEST_FOR_CLAIM
from components.shared.passports import ACCEPT, REFUSE, SUSPECT, Passport
from components.shared.planes import CLASSES, UNCERTAIN
from components.shared.rounds import MINIMUM_VALIDATION_PATIENTS
from components.shared.splits import SPLITS


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Sentences and figures that several documents say."""

    subject: str  # what the documents are about
    simulated: bool
    volumes: str
    planes: str
    cut: str
    partitions: str
    test: str
    classifier: str
    training: str
    labels: str
    annotated: str
    generator: str
    synthetic: str  # the images, of which generator, and what they inherit
    copies: str
    chosen: str  # how the published round was
    rounds: str
    result: str
    uncertainty: str
    errors: str
    software: str
    identity: str


def facts_of_run(
    values: Mapping[str, Any], passports: Sequence[Passport], simulated: bool, copies: str
) -> Facts:
    """Return the facts of a run of pipeline `augmentation`."""
    sides = {split: len(values["patients"][split]) for split in SPLITS}
    model = values["models"][values["best_round"]]
    return Facts(
        subject=f"the published classifier of run {values['run']} ({values['best_round']})",
        partitions=", ".join(f"{side}: {plural(number, 'patient')}" for side, number in sides.items()),
        test=plural(values["test_patients"], "test patient"),
        labels=_labels(values["parameters"], values["parameters"]["label_fraction"]),
        generator=_generator(values["gan"]),
        synthetic=_inherited(f"{count(values['synthetic']['total'])} images", _generator(values["gan"])),
        chosen=_CHOSEN if sides["validation"] >= MINIMUM_VALIDATION_PATIENTS else _LAST,
        copies=copies,
        rounds=f"{plural(len(values['rounds']), 'round')}, {values['best_round']} published",
        result=_result(model["balanced_accuracy"], model["balanced_accuracy_interval"]),
        uncertainty=_UNCERTAINTY,
        errors="Errors by class, patient by patient, and noise apart are in the sections above.",
        annotated=_annotated(bool(values["parameters"].get("expert_labels_uri"))),
        **_shared(values, passports, simulated, _by_class(values["planes"])),
    )


def facts_of_study(
    values: Mapping[str, Any], passports: Sequence[Passport], simulated: bool, copies: str
) -> Facts:
    """Return the facts of a study, whose subject is its arm E at the first label fraction."""
    first = values["parameters"]["label_fractions"][0]
    arm = next((a for a in values["arms"] if (a["letter"], a["fraction"]) == ("E", first)), None)
    measured = arm is not None and arm["value"] is not None
    made = [source for source in values["synthetic"] if "failed" not in source]
    fold = values["folds"][0]
    return Facts(
        subject=f"the classifiers of study {values['run']}, above all arm E",
        partitions=f"{plural(len(values['folds']), 'fold')} of patients, each tested once; in fold 0 "
        + ", ".join(f"{side}: {plural(len(fold[side]), 'patient')}" for side in SPLITS),
        test=plural(values["patients"], "tested patient"),
        labels=_labels(values["parameters"], first),
        generator=_generator(made[0]) if made else _no_gan(values),
        synthetic=_of_gans(values, made),
        chosen=_chosen(values["folds"]),
        copies=copies,
        rounds=f"up to {plural(values['parameters']['max_rounds'], 'round')} after the first, in each cell",
        result=_result(arm["value"], arm["interval"]) if arm and measured else "arm E was not measured",
        uncertainty=f"{_UNCERTAINTY} {_comparing(values['patients'])}",
        errors="Errors by class, angle, distance and site are in the section Where it errs.",
        annotated=_annotated(expert_labels_used(values) > 0),
        **_shared(values, passports, simulated, values["planes"]),
    )


_CHOSEN = "by mean loss of real validation patients, never by the test"
_LAST = "the last round, as so few validation patients choose by chance; never by the test"


def few_to_choose(folds: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the folds with too few validation patients to choose a round by."""
    return [fold["fold"] for fold in folds if len(fold["validation"]) < MINIMUM_VALIDATION_PATIENTS]


def _chosen(folds: Sequence[Mapping[str, Any]]) -> str:
    few = len(few_to_choose(folds))
    if few in (0, len(folds)):
        return _LAST if few else _CHOSEN
    return f"{_CHOSEN}; in {few} of {len(folds)} folds, with too few of them, the last round"


def _comparing(patients: int) -> str:
    if patients < FEWEST_FOR_CLAIM:
        return f"With fewer than {FEWEST_FOR_CLAIM} tested patients no test is made."
    return (
        "Differences: Student's interval, widened by what training anew adds; tested in a fixed order by"
        " exchanging the two arms' names patient by patient."
    )


def _no_gan(values: Mapping[str, Any]) -> str:
    return "no GAN came to its end" if values["synthetic"] else "no arm asks for a GAN"


def _of_gans(values: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> str:
    if not made:
        return f"none: {_no_gan(values)}"
    kept = sum(images_kept(source["quality"]["copies"]) for source in made)
    return _inherited(f"{count(kept)} images of {plural(len(made), 'GAN')}", _generator(made[0]))


def images_kept(copies: Mapping[str, Any]) -> int:
    """Return how many of a GAN's images were left once copies were dropped."""
    return int(copies["images"] - copies["dropped"])


def _inherited(images: str, generator: str) -> str:
    return f"{images} by {generator}; they inherit its patients"


def expert_labels_used(values: Mapping[str, Any]) -> int:
    """Return the most of an expert's labels that a cell of a study was taught: those of its fold's images."""
    return max((cell["expert_labels"] for cell in values["cells"]), default=0)


_UNCERTAINTY = (
    "95 % intervals over patients (Wilson's score interval with the variance between patients; what it covers"
    " was measured, docs/statistics.md)."
)


def _annotated(by_expert: bool) -> str:
    who = "an expert labelled doubtful synthetic images; the other" if by_expert else "nobody:"
    return f"{who} labels follow from geometry and content"


def _shared(
    values: Mapping[str, Any], passports: Sequence[Passport], simulated: bool, planes: Mapping[str, int]
) -> dict[str, Any]:
    given = values["parameters"]
    verdicts = Counter(passport.verdict for passport in passports)
    patients = len({passport.patient for passport in passports})
    said = [f"{verdicts[name]} {word}" for name, word in _VERDICTS.items() if verdicts[name]]
    return {
        "simulated": simulated,
        "volumes": f"{plural(len(passports), 'volume')} of {plural(patients, 'patient')}: {listed(said)}",
        "planes": listed([f"{count(number)} {label}" for label, number in planes.items() if number]),
        "cut": _cut(given),
        "classifier": f"{given['classifier']} at {given['image_size_px']} px,"
        f" {'from given weights' if given['pretrained_uri'] else 'from random weights'}",
        "training": f"{plural(given['epochs'], 'epoch')} of AdamW, warmed-up cosine, seed {given['seed']}",
        "software": ", ".join(f"{name} {version}" for name, version in sorted(values["versions"].items())),
        "identity": f"volumes {values['snapshot'][:12]}, run {values['run']}",
    }


_VERDICTS = {ACCEPT: "accepted", SUSPECT: "suspect and used", REFUSE: "refused"}


def _by_class(planes: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {label: sum(planes[label].values()) for label in (*CLASSES, UNCERTAIN)}


def _cut(given: Mapping[str, Any]) -> str:
    angles = ", ".join(f"{angle:g}" for angle in given["plane_angles_deg"])
    return (
        f"every {given['plane_spacing_mm']:g} mm at {angles} degrees, a window of"
        f" {given['field_of_view_mm']:g} mm, field of view {given['field_of_view']}, noise by"
        f" {given['noise_rule']}"
    )


def _labels(given: Mapping[str, Any], fraction: float) -> str:
    unit = "patients" if given["label_unit"] == "patient" else "planes"
    return f"{percent(fraction)} of the training {unit}"


def _generator(gan: Mapping[str, Any]) -> str:
    return (
        f"StyleGAN2-ADA at {gan['resolution']} px, {count(gan['kimg'])} kimg, digest {gan['snapshot'][:12]}"
    )


def _result(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "not measured: a class has no test plane"
    told = f"balanced accuracy of coronal against sagittal {percent(value)}"
    return (
        told
        if interval is None
        else f"{told} (95 % interval {percent(interval[0])} to {percent(interval[1])})"
    )
