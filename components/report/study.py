"""The page of a study: verdict first, then what was compared, on whom, and everything behind it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from components.close_study.stage import Config, close_study
from components.report import study_charts, study_words, summary
from components.report.documents import documents
from components.report.gather import simulated
from components.report.language import ENGLISH
from components.report.page import render
from components.report.shortcuts import shortcuts_section
from components.report.study_facts import facts_of_study
from components.report.study_flow import study_flow
from components.report.study_pictures import Gallery
from components.report.synthetic import copied, copied_patients, memorised, most_copied
from components.report.volumes import volumes_page
from components.report.words import plural
from components.shared import judgement, passports, storage, stored_json
from components.shared.code import versions
from components.shared.failures import reason_at
from components.shared.files import write_whole
from components.shared.forgotten import require_remembered
from components.shared.ledger import Ledger
from components.shared.passports import Passport
from components.shared.planes import CLASSES, UNCERTAIN, PlaneSet
from components.shared.snapshots import is_simulated
from components.shared.splits import SPLITS, Splits
from components.shared.study import MADE, Grid, Source
from components.shared.weights import GENERATOR


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a study left behind."""

    parameters: Mapping[str, Any]  # those that change a result, as the ledger tells them
    snapshot: str  # digest of the volumes
    run: str
    study_uri: str
    planes: PlaneSet
    passports: Sequence[Passport]
    findings: Path  # folder of audit_shortcuts
    splits: Splits

    @classmethod
    def open(
        cls,
        *,
        parameters: Path,
        planes: Path,
        findings: Path,
        splits: Path,
        snapshot: str,
        study_uri: str,
        run: str,
    ) -> Self:
        """Open the artifacts of a study."""
        return cls(
            parameters=json.loads(parameters.read_text()),
            snapshot=snapshot,
            run=run,
            study_uri=study_uri,
            planes=PlaneSet.open(planes),
            passports=passports.read(planes / passports.PASSPORTS),
            findings=findings,
            splits=Splits.read(splits),
        )

    @property
    def grid(self) -> Grid:
        """The study's combinations."""
        return Grid.of(self.parameters)

    @property
    def gallery(self) -> Gallery:
        """Where its pictures come from."""
        return Gallery(
            study_uri=self.study_uri,
            grid=self.grid,
            planes=self.planes,
            patients=self.splits.folds,
            side=self.parameters["gan_resolution"],
            experts=Ledger.at(self.study_uri).expert_labels(),
        )


def report_study(
    inputs: Inputs, html: Path, metrics: Path, doubtful: Path, language: str = ENGLISH
) -> Mapping[str, Any]:
    """Write report.html, metrics.json and doubtful.csv, also beside the study's state; return the numbers."""
    values, gallery = collect(inputs), inputs.gallery
    judged = gallery.judged()
    stored_json.write(metrics, values)
    write_whole(doubtful, judged.sheet.table)
    parts = _parts(inputs, values, gallery) | {"judged": judged}
    write_whole(html, render("study.html.j2", values, language, **parts))
    # By its text what is a patient's is found: it comes before the page.
    for path, name in ((metrics, "metrics.json"), (doubtful, "doubtful.csv"), (html, "report.html")):
        storage.upload(path, storage.join(inputs.study_uri, "report", name))
    require_remembered(Ledger.at(inputs.study_uri).state_uri, inputs.splits.folds)
    return values


def collect(inputs: Inputs) -> dict[str, Any]:
    """Return what metrics.json holds: every number of the study, no time and no machine path."""
    config = Config(
        study_uri=inputs.study_uri,
        grid=inputs.grid,
        worthwhile_gain=inputs.parameters["worthwhile_gain"],
        seed=inputs.parameters["seed"],
    )
    synthetic = [_source(inputs.study_uri, source) for source in inputs.grid.sources()]
    return {
        **close_study(config, inputs.planes, inputs.splits),
        "copied_patients": copied_patients(synthetic),
        "folds": [_fold(inputs, fold) for fold in range(inputs.grid.folds)],
        "parameters": summary.portable(inputs.parameters),
        "planes": _count_planes(inputs.planes),
        "run": inputs.run,
        "snapshot": inputs.snapshot,
        "synthetic": synthetic,
        "versions": versions(),
    }


def _fold(inputs: Inputs, fold: int) -> dict[str, Any]:
    splits = inputs.splits.testing(fold)
    return {"fold": fold, **{side: list(splits.patients(side)) for side in SPLITS}}


def _count_planes(planes: PlaneSet) -> dict[str, int]:
    labels = [row.label for row in planes.rows]
    return {label: labels.count(label) for label in (*CLASSES, UNCERTAIN)}


def _source(study_uri: str, source: Source) -> dict[str, Any]:
    """Return what is known of one set of synthetic images."""
    about = storage.join(source.uri(study_uri), "generator", GENERATOR)
    named = {"source": source.name, "fold": source.fold, "planes": source.planes, "gan": source.gan}
    if not storage.exists(storage.join(source.uri(study_uri), MADE)):
        return {**named, "failed": reason_at(source.uri(study_uri))}
    judged = storage.join(source.uri(study_uri), "planes", judgement.FOLDER, judgement.JUDGEMENT)
    quality = json.loads(storage.read_bytes(judged))
    return {**named, **summary.describe_gan(json.loads(storage.read_bytes(about))), "quality": quality}


def flat_metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the few numbers that the KFP UI compares between studies."""
    first = values["parameters"]["label_fractions"][0]
    flat = {f"{arm['letter']}_balanced_accuracy": arm["value"] for arm in _at(values["arms"], first)}
    for each in values["comparisons"]:
        if each["fraction"] == first and each["role"] != "described":
            flat[f"{each['model']}_minus_{each['other']}"] = each["found"]["difference"]
    flat |= {"patients": values["patients"], "failed_cells": len(values["failed"])}
    return {name: float(value) for name, value in flat.items() if value is not None}


def _parts(inputs: Inputs, values: Mapping[str, Any], gallery: Gallery) -> dict[str, Any]:
    fractions = inputs.parameters["label_fractions"]
    audit = shortcuts_section(inputs.findings)
    measured = [arm for arm in values["arms"] if arm["value"] is not None]
    of_some = {arm["fraction"] for arm in measured}
    return {
        "notes": simulated(inputs.planes),
        "caution": study_words.caution(values),
        "division": study_words.division(values),
        "limits": study_words.limits(values, simulated(inputs.planes)),
        "charts": [
            (
                fraction,
                study_charts.arm_chart(_at(measured, fraction)) if fraction in of_some else None,
                study_charts.difference_chart(_at(values["comparisons"], fraction)),
            )
            for fraction in fractions
        ],
        "fraction_chart": study_charts.fraction_chart(values["arms"]),
        "flow": study_flow(values, len(inputs.passports)),
        "questions": study_words.QUESTIONS,
        "ended": study_words.ended,
        "of_repeats": study_words.of_repeats(values),
        "copied_first": most_copied(values["copied_patients"]),
        "patient_rows": _patient_rows(values, fractions[0]),
        "shown_arms": [arm["letter"] for arm in _at(measured, fractions[0])],
        "classes": CLASSES,
        "whose_errors": study_words.whose_errors(values["errors"], fractions[0]),
        "errors": study_words.error_tables(values["errors"]),
        "grids": gallery.grids(),
        "copied": _copies_told(values["synthetic"]),
        "worst": gallery.worst(),
        "samples": gallery.samples(),
        "shortcuts": audit,
        "volumes": volumes_page(inputs.passports),
        "documents": documents(
            facts_of_study(values, inputs.passports, is_simulated(inputs.planes), _copied(values), audit)
        ),
        "digests": [("Snapshot of the volumes", inputs.snapshot), ("Planes", inputs.planes.digest)],
    }


def _at(items: Sequence[Mapping[str, Any]], fraction: float) -> list[Mapping[str, Any]]:
    """Return what is of one label fraction, or of all labels."""
    return [item for item in items if item["fraction"] in (fraction, 1.0)]


def _copies_told(gans: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return, for GANs of which the same is to be said, their names and the sentences."""
    alike: dict[str, list[str]] = {}
    for gan in gans:
        if "quality" in gan:
            alike.setdefault(_told_of(gan["quality"]), []).append(gan["source"])
    return [(", ".join(names), sentences) for sentences, names in alike.items()]


def _told_of(quality: Mapping[str, Any]) -> str:
    """Return in sentences what is copied, who is memorised, and what the figures cannot tell."""
    cautions = [f"{told[0].upper()}{told[1:]}." for told in quality["cautions"]]
    return " ".join([copied(quality), memorised(quality["memorised"]), *cautions])


def _copied(values: Mapping[str, Any]) -> str:
    """Return how many of all synthetic images are copies, in a sentence."""
    found = [each["quality"]["copies"] for each in values["synthetic"] if "quality" in each]
    if not found:
        return "There is no synthetic image."
    copies, images = (sum(each[name] for each in found) for name in ("count", "images"))
    return f"{copies:,} of {plural(images, 'synthetic image')} copy a training plane."


def _patient_rows(values: Mapping[str, Any], fraction: float) -> list[tuple[str, list[float]]]:
    """Return every tested patient's values, arm by arm, at the first fraction."""
    arms = [arm for arm in _at(values["arms"], fraction) if arm["value"] is not None]
    patients = list(arms[0]["patients"]) if arms else []
    return [(patient, [arm["patients"][patient] for arm in arms]) for patient in patients]
