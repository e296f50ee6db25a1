"""A model card, a datasheet and a CLAIM checklist, filled with what the run knows.

Their questions are, in our words, those of Mitchell et al. 2019 (Model Cards for Model Reporting), Gebru et
al. 2021 (Datasheets for Datasets) and of the 2024 update of CLAIM (Tejani et al., Radiology: Artificial
Intelligence 2024). What a run cannot know is None, and marked so: a person has to write it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.report.claim import claim
from components.report.facts import Facts

UNKNOWN = None  # not known to this run


@dataclass(frozen=True, kw_only=True)
class Document:
    """One form: its questions in groups, each with what is known."""

    id: str
    title: str
    about: str
    groups: Sequence[tuple[str, Sequence[tuple[str, str | None]]]]

    @property
    def open(self) -> int:
        """How many answers a person has to write."""
        return sum(answer is None for _, entries in self.groups for _, answer in entries)


def documents(f: Facts) -> list[Document]:
    """Return the three documents of a run or a study."""
    return [model_card(f), datasheet(f), claim_checklist(f)]


def model_card(f: Facts) -> Document:
    """Return the card of the classifier."""
    return Document(
        id="card",
        title="Model card",
        about=f"Of {f.subject}.",
        groups=[
            (
                "Model",
                [
                    (
                        "What it is",
                        f"{f.classifier}; classes coronal, sagittal and, where there are enough, noise",
                    ),
                    ("How it was trained", f"{f.training}; {f.labels} with their label; {f.rounds}"),
                    ("What else it descends from", f"{f.synthetic}. {f.copies}"),
                    ("Version and identity", f"{f.software}; {f.identity}"),
                    ("Licence", "software Apache-2.0; the weights follow the terms of the volumes"),
                    ("Who made it, and whom to ask", UNKNOWN),
                ],
            ),
            (
                "Use",
                [
                    ("Meant for", "research on how to train a plane classifier when few planes are labelled"),
                    ("Not meant for", "diagnosis or any decision about a patient"),
                    ("Intended users and setting", UNKNOWN),
                    ("Regulatory state", UNKNOWN),
                ],
            ),
            (
                "Performance",
                [
                    ("On whom", f"{f.test}; {f.partitions}"),
                    ("Measured", f.result),
                    ("Uncertainty", f.uncertainty),
                    ("By group", f.errors),
                    ("By sex, gestational age, diagnosis, scanner", UNKNOWN),
                ],
            ),
            (
                "Cautions",
                [
                    ("Known limits", "the section Limits of this report"),
                    ("Privacy", "patients are pseudonyms; the weights descend from their images"),
                    ("Ethical review", UNKNOWN),
                ],
            ),
        ],
    )


def datasheet(f: Facts) -> Document:
    """Return the datasheet of the planes, real and synthetic."""
    source = "simulated, they show nobody" if f.simulated else UNKNOWN
    return Document(
        id="datasheet",
        title="Datasheet",
        about="Of the planes that were cut from the volumes, and of the synthetic images.",
        groups=[
            (
                "Why and what",
                [
                    (
                        "Purpose",
                        "to train and to test a classifier of brain planes on patients it has not seen",
                    ),
                    ("Who made and paid for the volumes", UNKNOWN),
                    ("Instances", f"{f.volumes}; planes: {f.planes}"),
                    (
                        "Labels of planes",
                        "by geometry (coronal, sagittal) and by content (noise), not by an expert",
                    ),
                    ("Synthetic images", f.synthetic),
                    (
                        "Relations",
                        "planes of one patient are near-copies; sessions of one patient stay together",
                    ),
                    ("Splits", f.partitions),
                    ("Errors and noise", "a passport for every volume, in the section The volumes"),
                    ("Whole or a sample", UNKNOWN),
                ],
            ),
            (
                "How it was collected",
                [
                    ("Source of the volumes", source),
                    ("Scanner, probe, protocol, period", UNKNOWN),
                    ("Consent and ethical review", UNKNOWN),
                    ("Age, sex, diagnoses", UNKNOWN),
                ],
            ),
            (
                "How it was prepared",
                [
                    ("Cutting", f.cut),
                    (
                        "Grey levels",
                        "one window a volume, by percentiles inside the sphere; low-passed to one sharpness",
                    ),
                    (
                        "De-identification",
                        "names, keys and dates of headers leave no trace; pseudonyms by HMAC",
                    ),
                    ("Left out", "volumes that a passport refuses; planes between noise and anatomy"),
                    ("Raw data kept", "the volumes, where they were; only planes are copied"),
                    ("Shortcuts", f.shortcuts),
                ],
            ),
            (
                "Uses and upkeep",
                [
                    ("Copies of real planes among the synthetic ones", f.copies),
                    ("Should not be used for", "diagnosis, or to recognise a person"),
                    ("Distribution, licence, retention", UNKNOWN),
                    ("Removal of a patient", "parameter forget_patient removes what descends from them"),
                ],
            ),
        ],
    )


def claim_checklist(f: Facts) -> Document:
    """Return the checklist, its 44 items numbered."""
    return Document(
        id="claim",
        title="CLAIM 2024 checklist",
        about="For whoever writes a paper from this report: what it can say, and what its authors must.",
        groups=[
            (part, [(f"{number}. {subject}", answer) for number, subject, answer in items])
            for part, items in claim(f)
        ],
    )
