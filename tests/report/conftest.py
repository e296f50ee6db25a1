"""Artifact folders of a run that never was: drawn planes, plausible numbers, real files."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from components.report.stage import Inputs
from components.shared import passports
from components.shared.calibration import gauged
from components.shared.judgement import FOLDER, JUDGEMENT, OWN_FEATURES, SHEET
from components.shared.ledger import LabelRow, write_labels
from components.shared.metrics import Predictions, measure
from components.shared.planes import CLASSES, GAN_CLASSES, UNCERTAIN, PlaneRow, PlaneSet, PlaneSetWriter, Seen
from components.shared.splits import Splits
from components.validate_parameters.stage import Parameters, results

SIDE, SYNTHETIC_SIDE = 96, 32


def draw_plane(label: str, rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Draw a head with speckle: round with two ventricles, long with one, or nothing."""
    y_HW, x_HW = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    speckle_HW = gaussian_filter(rng.rayleigh(1.0, (side, side)), 0.8)
    if label == "noise":
        return np.asarray(np.clip(18 * speckle_HW * (x_HW**2 + y_HW**2 < 0.8), 0, 255), np.uint8)
    wide, tall = (0.7, 0.74) if label == "coronal" else (0.85, 0.6)
    inside_HW = (x_HW / wide) ** 2 + (y_HW / tall) ** 2 < 1
    shift = rng.normal(0, 0.05)
    centres = (-0.22 + shift, 0.22 + shift) if label == "coronal" else (shift,)
    ventricles_HW = np.zeros_like(inside_HW)
    for centre in centres:
        ventricles_HW |= ((x_HW - centre) / 0.14) ** 2 + ((y_HW + 0.05) / 0.25) ** 2 < 1
    light_HW = 70 * inside_HW * np.where(ventricles_HW, 0.15, 1.0) * speckle_HW * (1.2 - 0.5 * y_HW)
    return np.asarray(np.clip(light_HW, 0, 255), np.uint8)


def write_planes(folder: Path, patients: Sequence[str], labels: Sequence[str]) -> PlaneSet:
    rng = np.random.default_rng(0)
    with PlaneSetWriter(folder=folder, side=SIDE, settings={"spacing_mm": 2.0}) as writer:
        for patient in patients:
            for label in labels:
                for k in range(6):
                    drawn = "sagittal" if label == UNCERTAIN else label
                    row = PlaneRow(
                        image=f"{label}/{hashlib.sha256(patient.encode()).hexdigest()[:8]}_{k:02}.png",
                        label=label,
                        patient=patient,
                        volume=hashlib.sha256(patient.encode()).hexdigest()[:16],
                        plane="coronal" if k % 2 else "sagittal",
                        angle_deg=-20.0 + 8 * k,
                        offset_mm=-15.0 + 6 * k,
                        content=0.5,
                    )
                    writer.add(draw_plane(drawn, rng, SIDE), row)
    return PlaneSet.open(folder)


def write_passports(path: Path, patients: Sequence[str]) -> list[passports.Passport]:
    """Write passports without pictures, the last of them refused."""
    found = [
        passports.Passport(
            volume=hashlib.sha256(patient.encode()).hexdigest()[:16],
            patient=patient,
            session="",
            site="",
            verdict=passports.REFUSE if patient == patients[-1] else passports.ACCEPT,
            reason="data: 3 bytes; valid: 60 bytes" if patient == patients[-1] else "",
        )
        for patient in patients
    ]
    passports.write(path, found)
    return found


def write_findings(folder: Path, leak: bool = False, audited: bool = True) -> Path:
    """Write what the audit leaves, with a leak or without, or where it is switched off."""
    case = {"judge": "1-nearest-neighbour on pixels", "kind": "constant", "interval": [0.48, 0.55]}
    case |= {"accuracy": 0.93 if leak else 0.51, "leak": leak, "picture": "trace.png" if leak else ""}
    real = {"judge": "logistic regression", "what": "mean grey", "accuracy": 0.6, "interval": [0.4, 0.7]}
    noise = {"disc_radius_tells_noise": 0.7, "mean_grey_tells_noise": 0.98}
    found = {"scans": 4, "cases": [case], "real": {"cases": [real]} | noise} if audited else {"cases": []}
    write_json(folder / "audit.json", found)
    if leak:
        Image.fromarray(np.zeros((16, 48), np.uint8)).save(folder / "trace.png")
    return folder


def synthetic_names() -> list[str]:
    """Return the names of 80 images of two truncations."""
    return [f"synthetic/psi{psi:.2f}_seed{seed:06}.png" for psi in (0.5, 1.0) for seed in range(40)]


def write_synthetic(folder: Path, patients: Sequence[str]) -> PlaneSet:
    rng = np.random.default_rng(1)
    seen = Seen(patients=frozenset(patients))
    with PlaneSetWriter(folder=folder, side=SYNTHETIC_SIDE, seen=seen) as writer:
        for place, name in enumerate(synthetic_names()):
            image_HW = draw_plane(GAN_CLASSES[int(rng.integers(2))], rng, SYNTHETIC_SIDE)
            truncation, seed = (0.5, 1.0)[place // 40], place % 40
            row = PlaneRow(
                image=name, source="synthetic", seed=seed, truncation=truncation, generator="ab" * 32
            )
            writer.add(image_HW, row)
    return PlaneSet.open(folder)


def write_judgement(
    images: Path, patients: Sequence[str], copied: int = 0, named: Sequence[str] = ()
) -> None:
    """Write what judge_synthetic leaves beside 80 images, of which so many were dropped as copies."""
    figures = {"fid": 41.5, "kid": 0.031, "kid_interval": [0.02, 0.045], "precision": 0.62, "recall": 0.31}
    theirs = {name: {"nearest": 0, "copies": 0, "rate": 0.0} for name in patients}
    theirs[patients[0]] = {"nearest": 80, "copies": copied, "rate": copied / 80}
    alike = dict.fromkeys(patients, 0.91)
    judgement = {
        "features": OWN_FEATURES, "detector": "resnet18 on planes", "detector_digest": "ef" * 32,
        "by_truncation": {"0.5": figures, "1.0": dict.fromkeys(figures)},
        "floor": {"planes": figures, "patients": dict.fromkeys(figures)},
        "training_planes": 84, "training_patients": len(patients), "cautions": ["FID of 40 images is biased"],
        "copies": {
            "images": 80, "count": copied, "rate": copied / 80, "max_copy_rate": 0.01, "dropped": copied,
            "strangers": 0.982, "by_patient": theirs,
            "by_truncation": {psi: {"images": 40, "copies": copied // 2} for psi in ("0.5", "1.0")},
        },
        "memorised": {"judged": True, "reason": "", "sessions": 0.98, "patients": list(named),
                      "reached": alike, "strangers": alike},
    }  # fmt: skip
    write_json(images / FOLDER / JUDGEMENT, judgement)
    Image.fromarray(np.zeros((16, 48), np.uint8)).save(images / FOLDER / SHEET)


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def evaluation_of(patients: Sequence[str], models: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Measure drawn predictions with the project's own metrics, better from model to model."""
    rng = np.random.default_rng(2)
    truth_N = np.array([CLASSES.index(label) for _ in patients for label in labels for _ in range(60)])
    patients_N = np.array([patient for patient in patients for _ in labels for _ in range(60)])
    hardness_N = np.repeat(rng.normal(0, 0.5, len(patients)), 60 * len(labels))
    measured = {}
    for name, skill in zip(models, np.linspace(2.2, 1.7, len(models)), strict=True):
        logits_NC = rng.normal(0, 1.3, (len(truth_N), len(CLASSES)))
        logits_NC[np.arange(len(truth_N)), truth_N] += skill + hardness_N
        p_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
        predictions = Predictions(probabilities=p_NC, truth=truth_N, patients=patients_N)
        softer_NC = p_NC**0.8 / (p_NC**0.8).sum(axis=1, keepdims=True)
        measured[name] = measure(predictions) | {
            "noise_by_grey": 0.95 if "noise" in labels else None,
            "calibration": {"temperature": 1.25, **asdict(gauged(p_NC, softer_NC, truth_N))},
        }
    return {"models": measured, "patients": sorted(patients), "planes": {}}


def round_record(number: int, last: int, stop_reason: str) -> dict[str, Any]:
    taught = {"coronal": 24 + number, "sagittal": 28 + 2 * number} if number else {}
    accepted = {"coronal": 25 + number, "sagittal": 30 + 2 * number}
    if number == last:
        accepted = {"coronal": 0, "sagittal": 0}
    return {
        "round": number,
        "labelled": 120,
        "trained_on_pseudo": taught,
        "pool": 80,
        "accepted": accepted,
        "newly_accepted": sum(accepted.values()),
        "below": 0 if number == last else 78 - sum(accepted.values()),
        "rejected": 0 if number == last else 2,
        "capped": 0,
        "thresholds": {"coronal": 0.75, "sagittal": 0.75},
        "changed": 0.3 if number else None,
        "flips": 4 * bool(number),
        "evicted": 5 * bool(number),
        "taught": 40 * bool(number),
        "taught_flips": 1 * bool(number),
        "validation": {
            "accuracy": 0.84 + 0.012 * number,
            "balanced_accuracy": 0.86 + 0.01 * number,
            "loss": 0.44 - 0.021 * number,
            "mean_patient_loss": 0.46 - 0.02 * number,
        },
        "classifier_digest": f"{number:02}" * 32,
        "stop_reason": stop_reason if number == last else "",
        "labels_sha256": "0" * 64,
    }


def write_round_labels(path: Path, synthetic: PlaneSet, last: bool) -> Path:
    rng = np.random.default_rng(3)
    rows = []
    for row in synthetic.rows:
        confidence, label = float(rng.uniform(0.4, 1.0)), str(rng.choice(GAN_CLASSES))
        status = "scored" if last else "accepted" if confidence > 0.75 else "below"
        rows.append(LabelRow(image=row.image, label=label, confidence=round(confidence, 6), status=status))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_labels(rows))
    return path


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Inputs]:
    """Return a function that writes a whole run and opens it."""

    def write(
        train: int = 7,
        validation: int = 2,
        test: int = 3,
        rounds: int = 2,
        labels: Sequence[str] = (*CLASSES, UNCERTAIN),
        kimg: float = 3.0,
        name: str = "p",
    ) -> Inputs:
        root = tmp_path_factory.mktemp("run")
        names = [f"{name}{k:02}" for k in range(train + validation + test)]
        sides = ["train"] * train + ["validation"] * validation + ["test"] * test
        splits = Splits(dict.fromkeys(names, 2), dict(zip(names, sides, strict=True)))
        planes = write_planes(root / "planes", names, labels)
        found = write_passports(root / "planes" / passports.PASSPORTS, names)
        synthetic = write_synthetic(root / "synthetic", names[:train])
        write_judgement(root / "synthetic", names[:train])
        history = [
            {"kimg": kimg * k / 40, "g_loss": 1.2 + 0.4 * np.sin(k / 5), "d_loss": 1.1 - 0.01 * k,
             "augment_p": 0.005 * k, "r1": 0.2 + 0.1 * np.cos(k)}
            for k in range(1, 41)
        ]  # fmt: skip
        write_json(
            root / "generator/generator.json",
            {"resolution": SYNTHETIC_SIDE, "channels": 1, "kimg": kimg, "seed": 0, "digest": "cd" * 32,
             "begun_from": "", "kimg_before": 0.0,
             "patients_seen": names[:train], "history": history, "classes": list(GAN_CLASSES),
             "config": {"gamma": 0.4}},
        )  # fmt: skip
        write_json(
            root / "supervised/classifier.json",
            {
                "labelled": 600,
                "digest": "ef" * 32,
                "patients_seen": names[:train],
                "architecture": "resnet18",
            },
        )
        models = ["supervised", *(f"round_{k:03}" for k in range(rounds + 1))]
        known = [label for label in labels if label in CLASSES]
        evaluation = evaluation_of(names[train + validation :], models, known)
        return Inputs(
            parameters=results(
                Parameters(
                    volumes_uri="",
                    state_uri="",
                    max_rounds=rounds,
                    pretrained_uri="/somewhere/private/weights.safetensors",
                )
            ),
            snapshot="12" * 32,
            run="3f2a91c4d0be",
            planes=planes,
            findings=write_findings(root / "findings"),
            passports=found,
            splits=splits,
            generator=root / "generator",
            synthetic=synthetic,
            supervised=root / "supervised",
            rounds=[round_record(k, rounds, "max_rounds") for k in range(rounds + 1)],
            round_labels=[
                write_round_labels(root / f"labels/{k:03}.csv", synthetic, k == rounds)
                for k in range(rounds + 1)
            ],
            evaluation=write_json(root / "evaluation.json", evaluation),
            best_round=f"round_{rounds:03}",
            versions={"fontanelle": "0.1.0", "code": "9c0ffee12345"},
            notes=["A demonstration on simulated volumes."],
        )  # fmt: skip

    return write


@pytest.fixture(scope="session")
def inputs(run_of: Callable[..., Inputs]) -> Inputs:
    """Return a run with three test patients and two pseudo-label rounds."""
    return run_of()


@pytest.fixture(scope="session")
def applied_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, PlaneSet]]:
    """Return a function that writes planes and what apply_classifiers makes of them."""

    def write(known: bool = True) -> tuple[Path, PlaneSet]:
        root = tmp_path_factory.mktemp("applied")
        patients = ["q01", "q02"]
        planes = write_planes(root / "planes", patients, CLASSES if known else [UNCERTAIN])
        rng = np.random.default_rng(4)
        columns = ["classifier", "image", "patient", "label", "predicted", "confidence"]
        lines = [",".join(columns)]
        for name in ("supervised", "published"):
            for row in planes.rows:
                predicted = row.label if known and rng.uniform() < 0.8 else str(rng.choice(CLASSES))
                values = [name, row.image, row.patient, row.label, predicted, f"{rng.uniform(0.4, 1):.6f}"]
                lines.append(",".join(values))
        (root / "predictions.csv").write_text("\n".join(lines) + "\n")
        measured = evaluation_of(patients, ["supervised", "published"], CLASSES)["models"]
        models = {name: value if known else None for name, value in measured.items()}
        about = {"models": models, "patients": patients, "planes": dict.fromkeys(CLASSES, 120 * known)}
        write_json(root / "metrics.json", about)
        return root, planes

    return write
