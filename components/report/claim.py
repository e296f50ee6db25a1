"""The 44 items of CLAIM 2024 in our words, each with what the run knows of it."""

from collections.abc import Sequence

from components.report.facts import Facts

Item = tuple[int, str, str | None]


def claim(f: Facts) -> list[tuple[str, Sequence[Item]]]:
    """Return the items by part of a paper; None is for its authors to write."""
    return [
        ("Title and abstract", _front(f)),
        ("Introduction", _introduction(f)),
        ("Methods: study and data", _data(f)),
        ("Methods: reference standard and partitions", _reference(f)),
        ("Methods: model and training", _model(f)),
        ("Methods: evaluation", _evaluation(f)),
        ("Results", _results(f)),
        ("Discussion and other", _discussion(f)),
    ]


def _front(f: Facts) -> list[Item]:
    return [
        (1, "Named as a study of an AI method, with its kind", f.kind),
        (2, "Structured summary", None),
    ]


def _introduction(f: Facts) -> list[Item]:
    return [
        (3, "Clinical background and intended role", None),
        (4, "Aims and hypotheses", f.aim),
    ]


def _data(f: Facts) -> list[Item]:
    return [
        (5, "Prospective or retrospective", None),
        (6, "Goal of the study", "to compare training sets, not to establish a diagnostic device"),
        (7, "Sources of data", "simulated volumes" if f.simulated else None),
        (8, "Who is included and excluded", f"{f.volumes}; exclusion by passport, with its reason"),
        (9, "Preprocessing", f"planes {f.cut}; grey levels by volume"),
        (10, "Parts of the data that were chosen", f"planes: {f.planes}; uncertain ones are kept aside"),
        (11, "De-identification", "pseudonyms by HMAC under a secret key; nothing of a header is written"),
        (12, "Missing data", "a volume without orientation is refused, or taken as a parameter says"),
        (13, "Image acquisition", None),
    ]


def _reference(f: Facts) -> list[Item]:
    return [
        (14, "Reference standard", "the cut itself (coronal or sagittal), and for noise the share of tissue"),
        (
            15,
            "Why that one",
            "a cut's orientation is known relative to the header, not to the head; which planes are empty is"
            " measured",
        ),
        (16, "Who annotated", f.annotated),
        (17, "How the test set was annotated", "by geometry and content alone"),
        (18, "Agreement between annotators", "not measured: no plane was annotated twice"),
        (19, "How data are divided", f.partitions),
        (20, "Level at which the parts are disjoint", "the patient, all sessions together"),
        (21, "Size of the test set, and why", f"{f.test}; the size was not planned by this run"),
    ]


def _model(f: Facts) -> list[Item]:
    return [
        (22, "The model", f"{f.classifier}; generator: {f.generator}"),
        (23, "Software", f"{f.software}; torch and torchvision as in the locked images"),
        (24, "Initial weights", f.classifier.rpartition(", ")[2]),
        (25, "Training", f"{f.training}; {f.labels} labelled; {f.rounds}; parameters in the last section"),
        (26, "How the final model was chosen", f.chosen),
        (27, "Ensembles", "none; two views of each plane are averaged"),
    ]


def _evaluation(f: Facts) -> list[Item]:
    return [
        (
            28,
            "Metrics",
            "balanced accuracy of coronal against sagittal; recall, loss, calibration error beside",
        ),
        (29, "Uncertainty and significance", f.uncertainty),
        (30, "Robustness", f.robustness),
        (31, "Explanations of single decisions", None),
        (32, "Evaluation on internal data", f"on {f.test}"),
        (
            33,
            "Evaluation on external data",
            "not in this run; pipeline apply measures on volumes of elsewhere",
        ),
        (34, "Registration", None),
    ]


def _results(f: Facts) -> list[Item]:
    return [
        (35, "Flow of patients", f"{f.volumes}; {f.partitions}"),
        (36, "Demographics and clinical characteristics by part", None),
        (37, "Performance on all parts", f"test: {f.result}; validation by round is in metrics.json"),
        (38, "Estimates with their precision", f.result),
        (39, "Analysis of failures", f.errors),
    ]


def _discussion(f: Facts) -> list[Item]:
    return [
        (40, "Limitations", "the section Limits, and whatever concerns the clinic"),
        (41, "Implications for practice", None),
        (
            42,
            "Where the protocol is",
            "in this report: every parameter that changes a result, versions, digests",
        ),
        (43, "Availability of software, models and data", f"software: Apache-2.0; identity: {f.identity}"),
        (44, "Funding and interests", None),
    ]
