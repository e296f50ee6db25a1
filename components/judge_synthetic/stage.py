"""What synthetic images are before anything learns from them: how near to real ones, and whether copies.

It writes the PlaneSet of the images that are kept, and beside it what components/shared/judgement.py names.
Everything is measured against planes of training patients. Copies are dropped where they are more than a
share of the images: those that are left are what the generator made of its own.
"""

import csv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stylegan2_ada.detector import Detector
from torch import Tensor

from components.judge_synthetic import copies, fidelity
from components.judge_synthetic.copies import Reference
from components.judge_synthetic.likeness import Nearest, nearest, shrunk, views_of
from components.judge_synthetic.sheet import PAIRS, draw_sheet
from components.shared import classifier as classifiers
from components.shared import stored_json
from components.shared.accelerator import accelerator
from components.shared.faults import InputError
from components.shared.files import whole
from components.shared.judgement import FOLDER, JUDGEMENT, OWN_FEATURES, SHEET, TABLE
from components.shared.planes import PlaneRow, PlaneSet, PlaneSetWriter
from components.shared.progress import Progress, emit, silent
from components.shared.splits import TRAIN, Splits
from components.shared.weights import known_seen
from components.train_gan.stage import input_errors, training_rows


@dataclass(frozen=True, kw_only=True)
class Config:
    """What decides the judgement."""

    max_copy_rate: float = 0.01  # share of copies above which they are dropped; real strangers stay below it
    inception_uri: str = ""  # feature network, TorchScript or torch.export; "": the classifier's features
    seed: int = 0  # of subsets and halves
    batch: int = 64


@dataclass(frozen=True, kw_only=True)
class _Likeness:
    """What the memorisation check found of one set."""

    rows: Sequence[PlaneRow]  # of the training planes
    reference: Reference
    found: Nearest  # of every synthetic image
    copies_N: NDArray[np.bool_]  # noqa: N815
    memorised: Mapping[str, Any]

    @property
    def margins_N(self) -> NDArray[np.float32]:  # noqa: N802
        """How far each image is beyond what counts as a copy."""
        margins: NDArray[np.float32] = self.found.likeness_N - self.reference.limits_M[self.found.index_N]
        return margins


def judge_synthetic(  # noqa: PLR0917 - inputs, then out, then progress, as in every stage
    config: Config,
    planes: PlaneSet,
    splits: Splits,
    synthetic: PlaneSet,
    classifier: Path | None,
    out: Path,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Write the kept images and the judgement into out, and return the judgement.

    Without a classifier and without inception_uri only copies are looked for. Raises InputError for a
    generator or a classifier that saw other than training patients, an empty set, an unusable feature
    network, and where nothing but copies is left.
    """
    rows = _checked(planes, splits, synthetic)
    detector = _detector(config, planes, splits, classifier)  # first, just in case it cannot be used
    likeness = _look(planes, rows, synthetic, progress)
    figures = _figures(config, detector, planes, rows, synthetic)
    judgement = _judgement(config, likeness, synthetic, figures)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    _write_table(out / FOLDER / TABLE, synthetic, likeness)
    _draw_worst(out / FOLDER / SHEET, planes, synthetic, likeness)
    stored_json.write(out / FOLDER / JUDGEMENT, judgement)
    _write_kept(out, synthetic, likeness.copies_N if judgement["copies"]["dropped"] else None)
    _warn(judgement)
    return judgement


def _checked(planes: PlaneSet, splits: Splits, synthetic: PlaneSet) -> Sequence[PlaneRow]:
    """Return the training planes, once nothing crosses and nothing is empty."""
    splits.require_apart(planes)
    splits.require_only((TRAIN,), synthetic.seen, f"synthetic planes {synthetic.digest[:12]}", planes)
    if not synthetic.rows:
        raise InputError(f"synthetic planes {synthetic.digest[:12]}: none; valid: at least one")
    rows = training_rows(planes, splits)
    if len(rows) < 2:
        raise InputError(f"{planes.folder.name}: one plane of a training patient; valid: at least two")
    return rows


def _detector(config: Config, planes: PlaneSet, splits: Splits, classifier: Path | None) -> Detector | None:
    """Open the network whose features are used."""
    if config.inception_uri:
        with _naming(config), input_errors():
            return fidelity.file_detector(config.inception_uri)
    if classifier is None:
        return None
    about = classifiers.describe(classifier)
    what = f"classifier {about['digest'][:12]}"
    splits.require_only((TRAIN,), known_seen(about, what), what, planes)
    return fidelity.classifier_detector(classifier)


@contextmanager
def _naming(config: Config) -> Iterator[None]:
    """Begin what a feature network of the user's is refused for with the parameter that named it."""
    try:
        yield
    except FileNotFoundError as error:
        valid = "empty, or a file or object with a TorchScript network or an exported program"
        raise InputError(f"inception_uri={config.inception_uri}: no such file; valid: {valid}") from error
    except InputError as error:
        if not config.inception_uri:
            raise
        raise InputError(f"inception_uri={config.inception_uri}: {error}") from error


def _look(planes: PlaneSet, rows: Sequence[PlaneRow], synthetic: PlaneSet, progress: Progress) -> _Likeness:
    """Compare every synthetic image with every training plane, and those with one another."""
    at, total = accelerator(), len(synthetic.rows)
    real_MHW, fake_NHW = views_of(planes, rows, at), views_of(synthetic, synthetic.rows, at)
    progress(total // 4, total)
    reference = copies.reference_of(real_MHW, rows)
    found = nearest(fake_NHW, real_MHW)
    progress(total // 2, total)
    reached_M = nearest(real_MHW, fake_NHW).likeness_N
    return _Likeness(
        rows=rows,
        reference=reference,
        found=found,
        copies_N=copies.are_copies(found, reference),
        memorised=copies.memorised(rows, reached_M, reference),
    )


def _figures(
    config: Config, detector: Detector | None, planes: PlaneSet, rows: Sequence[PlaneRow], synthetic: PlaneSet
) -> dict[str, Any]:
    """Return the figures by truncation, and of halves of the training planes against each other."""
    if detector is None:
        return {"features": "", "detector": "", "detector_digest": "", "by_truncation": {}, "floor": {}}
    side, seed = synthetic.side, config.seed

    def features(source: PlaneSet, chosen: Sequence[PlaneRow]) -> Tensor:
        return fidelity.features_of(source, chosen, side, detector, config.batch)

    with _naming(config), input_errors():
        real_NF = features(planes, rows)
        by_truncation = {
            f"{psi}": fidelity.compare(real_NF, features(synthetic, fakes), seed)
            for psi, fakes in _by_truncation(synthetic).items()
        }
        floor = {
            name: fidelity.compare(real_NF[half_N], real_NF[~half_N], seed)
            for name, half_N in fidelity.halves(rows, seed).items()
        }
    return {
        "features": detector.name if config.inception_uri else OWN_FEATURES,
        "detector": detector.name,
        "detector_digest": detector.digest,
        "by_truncation": by_truncation,
        "floor": floor,
    }


def _by_truncation(synthetic: PlaneSet) -> dict[float, list[PlaneRow]]:
    groups: dict[float, list[PlaneRow]] = {}
    for row in synthetic.rows:
        groups.setdefault(row.truncation, []).append(row)
    return dict(sorted(groups.items()))


def _judgement(
    config: Config, likeness: _Likeness, synthetic: PlaneSet, figures: Mapping[str, Any]
) -> dict[str, Any]:
    count, total = int(likeness.copies_N.sum()), len(synthetic.rows)
    too_many = count / total > config.max_copy_rate
    if too_many and count == total:
        raise InputError(
            f"images={total}: every synthetic image copies a training plane, and copies above"
            f" max_copy_rate={config.max_copy_rate} are dropped; valid: more patients, a smaller gan_kimg, or"
            " a larger max_copy_rate"
        )
    return {
        **figures,
        "training_planes": len(likeness.rows),
        "training_patients": len({row.patient for row in likeness.rows}),
        "cautions": _cautions(likeness.rows, synthetic, figures),
        "copies": {
            "images": total,
            "count": count,
            "rate": count / total,
            "max_copy_rate": config.max_copy_rate,
            "dropped": count if too_many else 0,
            "strangers": likeness.reference.strangers,
            "by_truncation": _copies_by_truncation(synthetic, likeness.copies_N),
            "by_patient": copies.by_patient(likeness.rows, likeness.found, likeness.copies_N),
        },
        "memorised": dict(likeness.memorised),
    }


def _copies_by_truncation(synthetic: PlaneSet, copies_N: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    psi_N = np.array([row.truncation for row in synthetic.rows])
    return {
        f"{psi}": {"images": int((psi_N == psi).sum()), "copies": int(copies_N[psi_N == psi].sum())}
        for psi in sorted(set(psi_N.tolist()))
    }


def _cautions(rows: Sequence[PlaneRow], synthetic: PlaneSet, figures: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know before comparing the figures."""
    cautions = []
    least = min([len(rows), *map(len, _by_truncation(synthetic).values())])
    if figures["features"] and least < fidelity.ENOUGH:
        cautions.append(
            f"FID of {least} images, fewer than {fidelity.ENOUGH}, is biased upwards; go by KID, which is not"
        )
    if figures["features"] == OWN_FEATURES:
        cautions.append("features of another network: not comparable with published FID, nor between runs")
    if len({row.patient for row in rows}) < 2:
        cautions.append(
            "one training patient: what strangers have in common is unknown, so copies may be few"
        )
    return cautions


def _write_table(path: Path, synthetic: PlaneSet, likeness: _Likeness) -> None:
    columns = ("image", "truncation", "nearest", "patient", "likeness", "neighbour", "limit", "copy")
    reference = likeness.reference
    with whole(path) as part, part.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        for row, value, index, copied in zip(
            synthetic.rows, likeness.found.likeness_N, likeness.found.index_N, likeness.copies_N, strict=True
        ):
            near = likeness.rows[index]
            known = (value, reference.neighbours_M[index], reference.limits_M[index])
            numbers = [f"{number:.5f}" for number in known]
            answer = "yes" if copied else "no"
            table.writerow([row.image, row.truncation, near.image, near.patient, *numbers, answer])


def _draw_worst(path: Path, planes: PlaneSet, synthetic: PlaneSet, likeness: _Likeness) -> None:
    """Draw the pairs furthest beyond the limit, each training plane once, as small as the GAN saw it."""
    order = np.argsort(-likeness.margins_N, kind="stable")
    _, first = np.unique(likeness.found.index_N[order], return_index=True)
    chosen = order[np.sort(first)][:PAIRS]
    fakes = synthetic.images(synthetic.rows[k] for k in chosen)
    reals = planes.images(likeness.rows[likeness.found.index_N[k]] for k in chosen)
    pairs = [(fake, shrunk(real, synthetic.side)) for fake, real in zip(fakes, reals, strict=True)]
    captions = [
        f"{place}: {likeness.found.likeness_N[k]:.4f}{', copy' if likeness.copies_N[k] else ''}"
        for place, k in enumerate(chosen, start=1)
    ]
    draw_sheet(path, pairs, captions)


def _write_kept(out: Path, synthetic: PlaneSet, dropped_N: NDArray[np.bool_] | None) -> None:
    """Write the PlaneSet of the images that are not dropped, byte for byte as they were made."""
    writer = PlaneSetWriter(
        folder=out,
        side=synthetic.side,
        channels=synthetic.channels,
        settings=synthetic.settings,
        seen=synthetic.seen,
    )
    with writer, zipfile.ZipFile(synthetic.archive) as archive:
        for place, row in enumerate(synthetic.rows):
            if dropped_N is None or not dropped_N[place]:
                writer.add_png(archive.read(row.image), row)


def _warn(judgement: Mapping[str, Any]) -> None:
    copied, named = judgement["copies"], judgement["memorised"]["patients"]
    if copied["dropped"]:
        emit(
            "judge_synthetic",
            "warning",
            message=f"{copied['dropped']} of {copied['images']} synthetic images copy a training plane, more"
            f" than max_copy_rate={copied['max_copy_rate']}: dropped",
        )
    if named:
        emit("judge_synthetic", "warning", message=f"memorised patients: {', '.join(named)}")
