"""Train StyleGAN2-ADA on the coronal and sagittal planes of the training patients."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import stylegan2_ada
from stylegan2_ada import checkpoint

from components.shared import storage, stored_json
from components.shared.accelerator import accelerator
from components.shared.code import code_digest
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.labels import PLANE, labelled_rows
from components.shared.planes import GAN_CLASSES, PlaneRow, PlaneSet, Seen, digest_of
from components.shared.progress import Progress, silent
from components.shared.splits import TRAIN, Splits
from components.shared.stored_json import described
from components.shared.weights import GENERATOR, seen_by_generator
from components.train_gan.checkpoints import name_seen, run_folder

_KEEPING = ("state_uri", "checkpoint_kimg")  # change no result
# Dials of stylegan2_ada that a pipeline calls gan_..., where a message gives one a value.
_DIALS = re.compile(r"\b(kimg|resolution|gamma|batch|channel_base|mirror|augment)(?==| \w+ there)")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The dials of the GAN; the defaults are the notebooks'."""

    kimg: float = 1200.0  # thousands of training images shown
    resolution: int = 256  # pixels, a power of two
    gamma: float = 25.0  # weight of R1; 0: the formula for resolution and batch
    batch: int = 0  # 0: the formula
    channel_base: int = 0  # width of the networks; 0: the formula
    mirror: bool = True
    augment: str = "bg"
    resume_uri: str = ""  # a Generator folder to start from
    seed: int = 0
    state_uri: str = ""  # at whose `gan` a stopped run is found again; "": nowhere
    checkpoint_kimg: float = 0.0  # between two checkpoints, of which three are kept; 0: by the clock
    snapshot_kimg: float = 200.0
    label_fraction: float = 1.0  # of the training planes (or patients): the share that a classifier is told
    label_unit: str = PLANE
    label_seed: int = 0


def train_gan(
    config: Config, planes: PlaneSet, splits: Splits, out: Path, progress: Progress = silent
) -> Mapping[str, Any]:
    """Write a Generator folder into out and return its JSON."""
    splits.require_apart(planes)
    rows = _labelled(config, planes, splits)
    resume = f"gan_resume_uri={config.resume_uri}"
    with tempfile.TemporaryDirectory() as scratch, input_errors({f"{scratch}/start": resume}):
        start, before = _start(config.resume_uri, planes, splits, Path(scratch) / "start")
        run = _run_name(config, planes, splits, start)
        with run_folder(_place(config), run, Path(scratch) / "run") as folder:
            seen = before | Seen.of(rows)
            if config.state_uri:  # its lease is held: from here on nobody is forgotten
                require_remembered(config.state_uri, seen.patients, seen.scans)
                name_seen(_place(config), run, seen.told())
            stylegan2_ada.train(
                _settings(config),
                planes.archive,
                [row.image for row in rows],
                folder.path,
                device=str(accelerator()),
                resume=start,
                on_progress=progress,
                on_checkpoint=lambda _: folder.save(),
                checkpoint_seconds=folder.checkpoint_seconds,
                checkpoint_kimg=config.checkpoint_kimg,
            )
            about = {
                **seen.told(),
                "classes": list(GAN_CLASSES),
                **_begun(start),
                "digests": {"planes": planes.digest, "splits": splits.digest},
            }
            info = _publish(folder.path, out, about)
            checkpoint.remove_all(folder.path)  # the finished networks say all that a rerun asks for
            folder.save()
            return info


def _place(config: Config) -> str:
    return config.state_uri and storage.join(config.state_uri, "gan")


def training_rows(planes: PlaneSet, splits: Splits) -> Sequence[PlaneRow]:
    """Return the planes that the GAN may see."""
    patients = set(splits.patients(TRAIN))
    rows = [row for row in planes.rows if row.label in GAN_CLASSES and row.patient in patients]
    if not rows:
        raise InputError(
            f"{planes.folder.name}: no {' or '.join(GAN_CLASSES)} plane of a training patient;"
            " valid: a PlaneSet with some"
        )
    return rows


def _labelled(config: Config, planes: PlaneSet, splits: Splits) -> Sequence[PlaneRow]:
    """Return the training rows whose label a classifier is told, which are all of them at fraction 1.

    They are drawn from all classes, as the classifier's are: noise has a say in who is labelled.
    """
    every = planes.rows_of(splits.patients(TRAIN))
    told = labelled_rows(every, config.label_fraction, config.label_unit, config.label_seed)
    chosen = {row.image for row in told}
    return [row for row in training_rows(planes, splits) if row.image in chosen]


@contextmanager
def input_errors(names: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Turn what stylegan2_ada refuses into the suite's error, in the words of who runs the pipeline.

    `names` says what they call the folders that a message may name.
    """
    try:
        yield
    except stylegan2_ada.UsageError as error:
        text = _DIALS.sub(r"gan_\1", str(error))
        for folder, name in names.items():
            text = text.replace(folder, name)
        raise InputError(text) from error
    except stylegan2_ada.DivergenceError as error:
        reason = str(error).partition(";")[0]
        raise InputError(
            f"gan_gamma: the GAN's training diverged, {reason}; valid: a larger gan_gamma"
        ) from error
    except stylegan2_ada.CollapseError as error:
        raise InputError(
            f"gan_gamma: the GAN's images became alike, {error}; valid: a larger gan_gamma or more planes"
        ) from error


def _settings(config: Config) -> stylegan2_ada.TrainingConfig:
    values = asdict(config)
    for name in ("resume_uri", *_KEEPING, "label_fraction", "label_unit", "label_seed"):
        del values[name]
    return stylegan2_ada.TrainingConfig(**values)


def _run_name(config: Config, planes: PlaneSet, splits: Splits, start: Path | None) -> str:
    # Checkpoints of other code are of another run: its results would not be this code's.
    code = code_digest("stylegan2_ada", "components/train_gan")
    settings = asdict(config) | {"planes": planes.digest, "splits": splits.digest, "code": code}
    settings["resume_uri"] = "" if start is None else storage.hash_file(start / GENERATOR)
    return digest_of({name: value for name, value in settings.items() if name not in _KEEPING})[:12]


def _start(uri: str, planes: PlaneSet, splits: Splits, folder: Path) -> tuple[Path | None, Seen]:
    """Fetch the Generator to start from, and say whose images it has seen."""
    if not uri:
        return None, Seen()
    try:
        storage.download(uri, folder)
        about = described((folder / GENERATOR).read_bytes())
    except FileNotFoundError:
        about = {}
    seen = seen_by_generator(about)
    if seen is None:
        raise InputError(
            f"gan_resume_uri={uri}: not a Generator; valid: a folder that train_gan, or"
            " `python -m stylegan2_ada import`, wrote"
        )
    splits.require_only((TRAIN,), seen, f"gan_resume_uri={uri}", planes)
    return folder, seen


def _begun(start: Path | None) -> dict[str, Any]:
    """Return what a GAN went on from, and how many kimg that and all before it had learnt, where known."""
    if start is None:
        return {"begun_from": "", "kimg_before": 0.0}
    about = described((start / GENERATOR).read_bytes())
    known = "source" not in about and about.get("kimg_before") is not None
    before = about["kimg_before"] + about["kimg"] if known else None
    return {"begun_from": storage.hash_file(start / GENERATOR), "kimg_before": before}


def _publish(folder: Path, out: Path, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy a finished run; its JSON comes last."""
    out.mkdir(parents=True, exist_ok=True)
    (out / GENERATOR).unlink(missing_ok=True)
    shutil.rmtree(out / "snapshots", ignore_errors=True)
    shutil.copytree(folder / "snapshots", out / "snapshots")
    for name in ("generator.safetensors", "discriminator.safetensors", "reals.png", "samples.png"):
        shutil.copyfile(folder / name, out / name)
    info: dict[str, Any] = {**json.loads((folder / GENERATOR).read_text()), **about}
    stored_json.write(out / GENERATOR, info)
    return info
