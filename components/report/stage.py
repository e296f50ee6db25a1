"""The report: one page that a neonatologist can read and a reviewer can trust, and the numbers behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.report import charts, pictures, summary, words
from components.report.documents import documents
from components.report.doubtful import contact_sheet, unlabelled
from components.report.facts import Facts, facts_of_run
from components.report.flow import flow_diagram
from components.report.histories import history_chart, round_chart
from components.report.language import ENGLISH
from components.report.page import render
from components.report.previous import compare
from components.report.shortcuts import Section, shortcuts_section
from components.report.synthetic import copied, quality_section
from components.report.volumes import volumes_page
from components.shared import stored_json
from components.shared.expert_labels import ExpertRow
from components.shared.files import write_whole
from components.shared.judgement import read_judgement
from components.shared.labels import MINIMUM
from components.shared.ledger import LabelRow, read_labels
from components.shared.passports import Passport
from components.shared.planes import CLASSES, GAN_CLASSES, NOISE, UNCERTAIN, PlaneRow, PlaneSet
from components.shared.rounds import unsteady
from components.shared.snapshots import is_simulated
from components.shared.splits import SPLITS, TEST, TRAIN, Splits
from components.shared.weights import ABOUT, GENERATOR

_PATIENT_COLUMNS = 6  # models beside one another in the table by patient
_GRIDS = 8  # truncations shown


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one run left behind."""

    parameters: Mapping[str, Any]  # those that change a result, as the ledger tells them
    snapshot: str  # digest of the volumes
    run: str  # its name in the ledger
    planes: PlaneSet
    findings: Path  # folder of audit_shortcuts
    passports: Sequence[Passport]
    splits: Splits
    generator: Path  # Generator folder
    synthetic: PlaneSet  # those that judge_synthetic kept, its judgement beside them
    supervised: Path  # Classifier folder
    rounds: Sequence[Mapping[str, Any]]  # round.json of each, in order
    round_labels: Sequence[Path]  # the labels of each, in order
    evaluation: Path  # evaluation.json
    best_round: str  # name of the published model, round_00k
    versions: Mapping[str, str]
    before: Mapping[str, Any] | None = None  # what the run before this one measured
    experts: Sequence[ExpertRow] = ()  # what an expert said of its images
    notes: Sequence[str] = ()  # what a reader must know of this run, e.g. that its volumes are simulated

    @property
    def label_source(self) -> int:
        """The round before the published one, by whose labels that one learnt."""
        return max(words.round_number(self.best_round) - 1, 0)

    @cached_property
    def labels(self) -> Sequence[LabelRow]:
        """What that round said of the images."""
        return read_labels(self.round_labels[self.label_source].read_bytes())


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in the report's tables."""

    key: str  # in metrics["models"]
    name: str
    labelled: int  # real planes it was shown with their label
    pseudo: int  # synthetic images it was shown with a pseudo-label
    published: bool


def report(
    inputs: Inputs, html: Path, metrics: Path, doubtful: Path, language: str = ENGLISH
) -> Mapping[str, Any]:
    """Write report.html in a language, metrics.json and doubtful.csv, and return the numbers."""
    supervised = summary.read_json(inputs.supervised / ABOUT)
    generator = summary.read_json(inputs.generator / GENERATOR)
    values = collect(inputs, supervised, generator)
    values["previous"] = compare(values, inputs.before)
    stored_json.write(metrics, values)
    unsure = contact_sheet(inputs.synthetic, inputs.labels, inputs.experts)
    write_whole(doubtful, unsure.with_labels(inputs.experts).table)
    audit = shortcuts_section(inputs.findings)
    parts = {
        **_opening(inputs, values, supervised),
        **_data_parts(inputs, values),
        **_result_parts(inputs, values, generator),
        "doubtful": unsure.tiles,
        "shortcuts": audit,
        "documents": documents(_facts(inputs, values, audit)),
    }
    write_whole(html, render("report.html.j2", values, language, **parts))
    return values


def collect(inputs: Inputs, supervised: Mapping[str, Any], generator: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metrics.json holds."""
    evaluation = summary.read_json(inputs.evaluation)
    seen = {*supervised["patients_seen"], *generator["patients_seen"], *inputs.synthetic.seen.patients}
    return {
        "best_round": inputs.best_round,
        "gan": summary.describe_gan(generator),
        "models": summary.describe_models(evaluation["models"]),
        "parameters": summary.portable(inputs.parameters),
        "patients": summary.count_patients(inputs.splits, sorted(seen)),
        "planes": summary.count_planes(inputs.planes, inputs.splits),
        "quality": read_judgement(inputs.synthetic.folder),
        "rounds": [summary.describe_round(record) for record in inputs.rounds],
        "run": inputs.run,
        "snapshot": inputs.snapshot,
        "synthetic": summary.count_synthetic(inputs.synthetic),
        "test_patients": len(evaluation["patients"]),
        "versions": dict(inputs.versions),
    }


def _opening(inputs: Inputs, values: Mapping[str, Any], supervised: Mapping[str, Any]) -> dict[str, Any]:
    rows = _rows(values, supervised["labelled"])
    volumes = len({row.volume for row in inputs.planes.rows})
    return {
        "verdict": words.verdict(values),
        "caution": words.caution(values),
        "notes": inputs.notes,
        "sketch": words.is_sketch(values),
        "limits": words.limits(values, inputs.notes),
        "rows": rows,
        "dots": charts.dot_intervals([_estimate(row, values["models"][row.key]) for row in rows]),
        "flow": flow_diagram(values, volumes, supervised["labelled"]),
        "unseen": words.plural(values["test_patients"], "patient"),
        "test_planes": sum(values["planes"][label][TEST] for label in GAN_CLASSES),
    }


def _rows(values: Mapping[str, Any], labelled: int) -> list[Row]:
    best, rounds = values["best_round"], {f"round_{each['round']:03}": each for each in values["rounds"]}
    return [
        Row(
            key=key,
            name=words.model_name(key, best),
            labelled=rounds[key]["labelled"] if key in rounds else labelled,
            pseudo=sum(rounds[key]["trained_on_pseudo"].values()) if key in rounds else 0,
            published=key == best,
        )
        for key in words.compared(values)
    ]


def _estimate(row: Row, measured: Mapping[str, Any]) -> charts.Estimate:
    interval = measured["balanced_accuracy_interval"]
    patients = [each["balanced_accuracy"] for each in measured["per_patient"].values()]
    return charts.Estimate(
        name=row.name,
        value=measured["balanced_accuracy"],
        interval=None if interval is None else (interval[0], interval[1]),
        patients=[value for value in patients if value is not None],
        published=row.published,
    )


def _data_parts(inputs: Inputs, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return who was measured, and pictures of real and synthetic planes."""
    patients = set(values["patients"][TRAIN])
    present = [label for label in (*CLASSES, UNCERTAIN) if any(values["planes"][label].values())]
    return {
        "volumes": volumes_page(inputs.passports),
        "classes": present,
        "absent": [label for label in CLASSES if label not in present],
        "few": [
            f"{label} in {side}"
            for label in CLASSES
            for side in SPLITS
            if 0 < values["planes"][label][side] < MINIMUM
        ],
        "samples": [(label, pictures.sample_tiles(inputs.planes, label, patients)) for label in present],
        "grids": _grids(inputs, patients, values["gan"]["resolution"]),
        "quality": quality_section(values["quality"], inputs.synthetic.folder),
        "sides": [(split, values["patients"][split]) for split in SPLITS],
    }


def _grids(inputs: Inputs, patients: set[str], side: int) -> list[tuple[str, str]]:
    """Return captions and grids: real planes first, as small as the GAN saw them, then each truncation."""
    grids = [pictures.real_grid(inputs.planes, patients, side)]
    by_truncation: dict[float, list[PlaneRow]] = {}
    for row in inputs.synthetic.rows:
        by_truncation.setdefault(row.truncation, []).append(row)
    for truncation in pictures.spread(sorted(by_truncation), _GRIDS):
        picture = pictures.mosaic(inputs.synthetic, by_truncation[truncation], side)
        grids.append((f"Synthetic, truncation ψ = {truncation:g}", picture))
    return grids


def _result_parts(inputs: Inputs, values: Mapping[str, Any], generator: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rounds, what they accepted, the errors by class, and the GAN's history."""
    rows = _rows(values, 0)
    return {
        "round_chart": round_chart(values["rounds"]),
        "unsteady": [warning for record in inputs.rounds if (warning := unsteady(record))],
        "stop_reason": words.STOP_REASONS.get(values["rounds"][-1]["stop_reason"], ""),
        "confusions": [
            (row.name, charts.confusion(row.name, **values["models"][row.key]["confusion"])) for row in rows
        ],
        "noise": [row for row in rows if values["models"][row.key]["recall"].get(NOISE) is not None],
        "patient_rows": rows if len(rows) <= _PATIENT_COLUMNS else _main_rows(rows),
        "label_source": inputs.label_source,
        "examples": pictures.accepted_tiles(inputs.synthetic, unlabelled(inputs.labels, inputs.experts)),
        "history": history_chart(generator["history"]),
        "generator": generator,
        "digests": _digests(inputs, values, generator),
    }


def _facts(inputs: Inputs, values: Mapping[str, Any], audit: Section) -> Facts:
    simulated = is_simulated(inputs.planes)
    return facts_of_run(values, inputs.passports, simulated, copied(values["quality"]), audit)


def _main_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the ends of a long run and its published round: first two, published, last."""
    return [*rows[:2], *(row for row in rows[2:] if row.published or row is rows[-1])]


def _digests(
    inputs: Inputs, values: Mapping[str, Any], generator: Mapping[str, Any]
) -> list[tuple[str, str]]:
    supervised = summary.read_json(inputs.supervised / ABOUT)
    published = inputs.rounds[words.round_number(values["best_round"])]
    return [
        ("Snapshot of the volumes", inputs.snapshot),
        ("Planes", inputs.planes.digest),
        ("Generator", generator["digest"]),
        ("Synthetic images", inputs.synthetic.digest),
        ("Supervised classifier", supervised["digest"]),
        ("Published classifier", published["classifier_digest"]),
    ]
