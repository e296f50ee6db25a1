"""One GAN of a study and its images, kept in the study's state for the arms that ask for them.

{state_uri}/{run}/synthetic/{source}/planes/       PlaneSet of the images, and their judgement
{state_uri}/{run}/synthetic/{source}/generator/    its generator.json and sample grids
{state_uri}/{run}/synthetic/{source}/made.json     written last: the set is complete
{state_uri}/{run}/synthetic/{source}/failed.json   why the last attempt came to nothing

A GAN that fails takes no arm with it that does not ask for its images.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from components.generate_images.stage import Config as GenerateConfig
from components.generate_images.stage import generate_images
from components.judge_synthetic.stage import Config as JudgeConfig
from components.judge_synthetic.stage import judge_synthetic
from components.shared import storage, stored_json
from components.shared.failures import reason_at
from components.shared.faults import InputError
from components.shared.forgotten import require_remembered
from components.shared.lease import waiting_lease
from components.shared.ledger import Ledger
from components.shared.planes import PlaneSet
from components.shared.progress import Progress, silent
from components.shared.splits import Splits
from components.shared.study import LABELLED_PLANES, MADE, Cell, Source
from components.shared.weights import GENERATOR
from components.train_gan.stage import Config as GanConfig
from components.train_gan.stage import train_gan

_SHOWN = (GENERATOR, "samples.png", "reals.png")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What all GANs of a study share."""

    study_uri: str  # {state_uri}/{run}
    gan: GanConfig  # label fraction and seed are the source's
    generation: GenerateConfig
    judging: JudgeConfig
    label_fraction: float  # of the planes that a GAN on labelled planes sees

    @classmethod
    def of(cls, state_uri: str, study_uri: str, parameters: Mapping[str, Any]) -> Self:
        """Return what the parameters of a study say."""
        names = (
            *("kimg", "resolution", "gamma", "batch", "channel_base", "mirror", "augment", "resume_uri"),
            "checkpoint_kimg",
        )
        seed = parameters["seed"]
        return cls(
            study_uri=study_uri,
            gan=GanConfig(
                **{name: parameters[f"gan_{name}"] for name in names},
                seed=seed,
                state_uri=state_uri,
                label_unit=parameters["label_unit"],
                label_seed=seed,
            ),
            generation=GenerateConfig(
                truncations=parameters["truncations"], images=parameters["images"], seed=seed
            ),
            judging=JudgeConfig(
                max_copy_rate=parameters["max_copy_rate"],
                inception_uri=parameters["inception_uri"],
                seed=seed,
            ),
            label_fraction=parameters["label_fractions"][0],
        )


def make_synthetic(
    config: Config, source: Source, planes: PlaneSet, splits: Splits, progress: Progress = silent
) -> Mapping[str, Any]:
    """Train a GAN on the fold's training patients and sample it; return what was made, once."""
    uri = source.uri(config.study_uri)
    # Of this process alone: a pod that was given up and works on must not write over what its follower made.
    with waiting_lease(storage.join(uri, "making"), f"images {source.name}"):
        if storage.exists(storage.join(uri, MADE)):
            return dict(stored_json.read(storage.join(uri, MADE), {"digest": str}))
        # Who is known now stays so while this lasts.
        require_remembered(config.gan.state_uri, splits.folds, planes.seen.scans)
        return _make(config, source, planes, splits, progress)


def _make(
    config: Config, source: Source, planes: PlaneSet, splits: Splits, progress: Progress
) -> Mapping[str, Any]:
    uri = source.uri(config.study_uri)
    fraction = config.label_fraction if source.planes == LABELLED_PLANES else 1.0
    gan = replace(config.gan, seed=config.gan.seed + source.gan, label_fraction=fraction)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sides = splits.testing(source.fold)
        about = train_gan(gan, planes, sides, folder / "whole", progress)
        generate_images(config.generation, folder / "whole", folder / "all", progress)
        judge = _judge(config, source.fold, folder / "judge")
        images = PlaneSet.open(folder / "all")
        judge_synthetic(config.judging, planes, sides, images, judge, folder / "planes", progress)
        storage.upload(folder / "planes", storage.join(uri, "planes"))
        for name in _SHOWN:
            storage.upload(folder / "whole" / name, storage.join(uri, "generator", name))
        made = {
            "digest": PlaneSet.open(folder / "planes").digest,
            "generator": about["digest"],
            "patients": about["patients_seen"],
        }
    storage.create(storage.join(uri, MADE), stored_json.text(made).encode())
    return made


def _judge(config: Config, fold: int, folder: Path) -> Path | None:
    """Fetch the fold's classifier whose features tell images apart: arm A's, else arm C's.

    None where neither arm is in the study, or came to its end: then only copies are looked for.
    """
    cells = (
        Cell(fold=fold, arm="A", fraction=1.0, seed=0),
        Cell(fold=fold, arm="C", fraction=config.label_fraction, seed=0),
    )
    for cell in cells:
        ledger = Ledger.at(cell.uri(config.study_uri))
        if ledger.rounds() and ledger.fetch_classifier(0, folder):
            return folder
    return None


def fetch_synthetic(study_uri: str, source: Source, folder: Path) -> PlaneSet:
    """Copy a source's images to a folder and open them; InputError says why there are none."""
    uri = source.uri(study_uri)
    if not storage.exists(storage.join(uri, MADE)):
        raise InputError(
            f"synthetic images {source.name}: not made, {reason_at(uri)}; valid: a study in which"
            " the GAN of this fold came to its end"
        )
    storage.download(storage.join(uri, "planes"), folder)
    opened = PlaneSet.open(folder)
    made = stored_json.read(storage.join(uri, MADE), {"digest": str})
    if opened.digest != made["digest"]:
        raise InputError(
            f"synthetic images {source.name}: changed since they were made; valid: another run_name"
        )
    return opened
