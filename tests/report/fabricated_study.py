"""What a study leaves behind, of cells that were never trained: drawn planes, plausible predictions."""

import csv
import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.report.study import Inputs
from components.shared import passports, storage
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import CLASSES, GAN_CLASSES, PlaneRow
from components.shared.rounds import ACCEPTED
from components.shared.splits import TEST, TRAIN, Splits
from components.shared.study import ARMS, CELLS, RESULT, SYNTHETIC_POOL, Cell, Grid, Source
from components.validate_parameters.stage import results
from components.validate_parameters.study import StudyParameters
from tests.report.conftest import (
    SYNTHETIC_SIDE,
    synthetic_names,
    write_findings,
    write_json,
    write_judgement,
    write_passports,
    write_planes,
    write_synthetic,
)

SKILL = dict(zip("ABCDEFG", (2.2, 1.2, 1.4, 1.6, 1.9, 1.5, 1.1), strict=True))


CALIBRATION = {
    "temperature": 1.2,
    "loss_before": 0.4,
    "loss_after": 0.3,
    "ece_before": 0.08,
    "ece_after": 0.05,
}


def write_study(
    root: Path,
    patients: int,
    failed: Collection[str] = (),
    experts: int = 0,
    leak: bool = False,
    **changes: Any,
) -> Inputs:
    """Write a study and open it; `failed` names cells and sources that came to nothing."""
    given = {"folds": 2, "seeds": 2, "label_fractions": (0.2, 0.5), "images": 80, "gan_resolution": 32}
    given |= {"gans": changes.get("seeds", given["seeds"]), **changes}
    parameters = results(StudyParameters(volumes_uri="", state_uri="", **given))
    grid, uri = Grid.of(parameters), str(root / "state/s")
    names = [f"q{k:02}" for k in range(patients)]
    splits = Splits({name: k % 5 for k, name in enumerate(names)}, {})
    planes = write_planes(root / "planes", names, CLASSES)
    for cell in grid.all_cells():
        if cell.name in failed:
            write_json(Path(cell.uri(uri)) / "failed.json", {"reason": "out of memory"})
        else:
            write_cell(uri, cell, planes.rows_of(splits.testing(cell.fold).patients(TEST)), experts)
    for source in grid.sources():
        if source.name in failed:
            write_json(Path(source.uri(uri)) / "failed.json", {"reason": "no images"})
        else:
            write_source(
                uri, source, splits.testing(source.fold).patients(TRAIN), given.get("gan_resume_uri")
            )
    return Inputs(
        parameters=parameters,
        snapshot="12" * 32,
        run="s",
        study_uri=uri,
        planes=planes,
        passports=write_passports(root / "planes" / passports.PASSPORTS, names),
        findings=write_findings(root / "findings", leak, given.get("audit") != "off"),
        splits=splits,
    )


def write_cell(uri: str, cell: Cell, rows: Sequence[PlaneRow], experts: int) -> None:
    rng = np.random.default_rng([cell.fold, ord(cell.arm), cell.seed, round(100 * cell.fraction)])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", *CLASSES])
    for row in rows:
        logits_C = rng.normal(0, 1, len(CLASSES))
        logits_C[CLASSES.index(row.label)] += SKILL[cell.arm]
        shares_C = np.exp(logits_C) / np.exp(logits_C).sum()
        writer.writerow([row.image, *(f"{share:.6f}" for share in shares_C)])
    storage.create(storage.join(cell.uri(uri), "predictions-0.csv"), buffer.getvalue().encode())
    pseudo = (
        dict(zip(CLASSES, (20, 24, 0), strict=True)) if ARMS[cell.arm].pool else dict.fromkeys(CLASSES, 0)
    )
    validation = {"mean_patient_loss": 0.5, "balanced_accuracy": 0.8}
    rounds = [
        {"round": k, "accepted": {"coronal": 20, "sagittal": 24}, "pool": 80, "validation": validation,
         **taught(cell, k),
         "stop_reason": "max_rounds" if k == bool(ARMS[cell.arm].pool) else ""}
        for k in range(1 + bool(ARMS[cell.arm].pool))
    ]  # fmt: skip
    result = {
        "labelled": 40, "labelled_patients": 2, "pseudo": pseudo, "digest": "ab" * 32,
        "expert_labels": experts,
        "best_round": rounds[-1]["round"], "rounds": rounds, "predictions": "predictions-0.csv",
        "test": {"balanced_accuracy": 0.85, "calibration": CALIBRATION},
    }  # fmt: skip
    storage.create(storage.join(cell.uri(uri), RESULT), json.dumps(result).encode())
    if ARMS[cell.arm].pool == SYNTHETIC_POOL:
        write_judged(uri, cell, rng)


def taught(cell: Cell, number: int) -> dict[str, int]:
    """Return how many labels of a round before another one gave anew; one seed of arm D is unsteady."""
    torn = cell.arm == "D" and cell.seed == 1
    return {"taught": 44 * number, "taught_flips": 20 * number if torn else number}


def write_judged(uri: str, cell: Cell, rng: np.random.Generator) -> None:
    """Write what round 0 of a cell said of the images of `write_synthetic`."""
    labels = [
        LabelRow(
            image=image,
            label=GAN_CLASSES[int(rng.integers(2))],
            confidence=float(rng.uniform(0.5, 1)),
            status=ACCEPTED,
        )
        for image in synthetic_names()
    ]
    Ledger(state_uri=storage.join(uri, CELLS), run=cell.name).seal({"round": 0}, labels)


def write_source(uri: str, source: Source, patients: Sequence[str], start: str | None) -> None:
    place = Path(source.uri(uri))
    write_synthetic(place / "planes", patients)
    write_judgement(place / "planes", patients, copied=2 * source.fold)
    begun = {"begun_from": "ef" * 32 if start else "", "kimg_before": None if start else 0.0}
    about = {"resolution": SYNTHETIC_SIDE, "channels": 1, "kimg": 4.0, "seed": 0, "digest": "cd" * 32,
             **begun, "history": [], "classes": list(GAN_CLASSES)}  # fmt: skip
    write_json(place / "generator/generator.json", about)
    write_json(place / "made.json", {"digest": "cd" * 32})
