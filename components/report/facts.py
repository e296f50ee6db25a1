"""What the documents at a report's end are filled from: facts that the run knows, and nothing else.

A study's own are in study_facts.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.report.shortcuts import Section
from components.report.words import count, listed, percent, plural
from components.shared.passports import ACCEPT, REFUSE, SUSPECT, Passport
from components.shared.planes import CLASSES, UNCERTAIN
from components.shared.rounds import MINIMUM_VALIDATION_PATIENTS
from components.shared.splits import SPLITS

KIND, WITH_GAN = "image classifier", "with GAN-made training images"
AIM = "do pseudo-labelled synthetic images improve a plane classifier when few are labelled?"
CHOSEN = "by mean loss of real validation patients, never by the test"
LAST = "the last round, as so few validation patients choose by chance; never by the test"
UNCERTAINTY = (
    "95 % intervals over patients (Wilson's score interval with the variance between patients; what it covers"
    " was measured, docs/statistics.md)."
)
_VERDICTS = {ACCEPT: "accepted", SUSPECT: "suspect and used", REFUSE: "refused"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Sentences and figures that several documents say."""

    kind: str  # of study
    aim: str
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
    robustness: str  # what was done to find out
    shortcuts: str  # what the audit came to
    software: str
    identity: str


def facts_of_run(
    values: Mapping[str, Any],
    passports: Sequence[Passport],
    simulated: bool,
    copies: str,
    audit: Section,
) -> Facts:
    """Return the facts of a run of pipeline `augmentation`."""
    sides = {split: len(values["patients"][split]) for split in SPLITS}
    model = values["models"][values["best_round"]]
    return Facts(
        kind=f"{KIND} {WITH_GAN}",
        aim=AIM,
        subject=f"the published classifier of run {values['run']} ({values['best_round']})",
        partitions=", ".join(f"{side}: {plural(number, 'patient')}" for side, number in sides.items()),
        test=f"{plural(values['test_patients'], 'test patient')}, by models that have not seen them",
        labels=labels(values["parameters"], values["parameters"]["label_fraction"]),
        generator=generator(values["gan"]),
        synthetic=inherited(f"{count(values['synthetic']['total'])} images", generator(values["gan"])),
        chosen=CHOSEN if sides["validation"] >= MINIMUM_VALIDATION_PATIENTS else LAST,
        copies=copies,
        rounds=f"{plural(len(values['rounds']), 'round')}, {values['best_round']} published",
        result=result(model["balanced_accuracy"], model["balanced_accuracy_interval"]),
        uncertainty=UNCERTAINTY,
        errors="Errors by class, patient by patient, and noise apart are in the sections above.",
        robustness=looked_for(audit),
        shortcuts=shortcuts(audit),
        annotated=annotated(bool(values["parameters"].get("expert_labels_uri"))),
        **shared(values, passports, simulated, _by_class(values["planes"])),
    )


def looked_for(audit: Section) -> str:
    """Return whether shortcuts were looked for."""
    return "the shortcut audit" if audit.audited else "no shortcut audit"


def shortcuts(audit: Section) -> str:
    """Return what the audit came to, in half a sentence."""
    if not audit.audited:
        return "not looked for: the audit was switched off"
    found = "a class could be told, so no figure can be trusted" if audit.alarm else "no class could be told"
    return f"audited on volumes without anatomy, in the section of that name: {found}"


def inherited(images: str, generator: str) -> str:
    """Return what a generator made, and whose images it descends from."""
    return f"{images} by {generator}; they inherit its patients"


def annotated(by_expert: bool) -> str:
    """Return who labelled what."""
    who = "an expert labelled doubtful synthetic images; the other" if by_expert else "nobody:"
    return f"{who} labels follow from geometry and content"


def shared(
    values: Mapping[str, Any], passports: Sequence[Passport], simulated: bool, planes: Mapping[str, int]
) -> dict[str, Any]:
    """Return the facts that a run and a study know alike; `planes` are counts by class."""
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


def _by_class(planes: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {label: sum(planes[label].values()) for label in (*CLASSES, UNCERTAIN)}


def _cut(given: Mapping[str, Any]) -> str:
    angles = ", ".join(f"{angle:g}" for angle in given["plane_angles_deg"])
    return (
        f"every {given['plane_spacing_mm']:g} mm at {angles} degrees, a window of"
        f" {given['field_of_view_mm']:g} mm, field of view {given['field_of_view']}, noise by"
        f" {given['noise_rule']}"
    )


def labels(given: Mapping[str, Any], *fractions: float) -> str:
    """Return which shares of the training set have their labels."""
    unit = "patients" if given["label_unit"] == "patient" else "planes"
    return f"{listed([percent(fraction) for fraction in fractions])} (asked for) of the training {unit}"


def generator(gan: Mapping[str, Any], *others: Mapping[str, Any]) -> str:
    """Return which GAN it is, by size, length and digest, or which ones."""
    kind = f"StyleGAN2-ADA at {gan['resolution']} px, {count(gan['kimg'])} kimg"
    if gan["begun_from"]:
        kind += " from another generator"
    return f"{kind}, digests in metrics.json" if others else f"{kind}, digest {gan['snapshot'][:12]}"


def result(value: float | None, interval: Sequence[float] | None) -> str:
    """Return a balanced accuracy (a share) with its 95 % interval."""
    if value is None:
        return "not measured: a class has no test plane"
    told = f"balanced accuracy of coronal against sagittal {percent(value)}"
    return (
        told
        if interval is None
        else f"{told} (95 % interval {percent(interval[0])} to {percent(interval[1])})"
    )
