"""The arms of a study, and the cells in which each is run: one fold, one label fraction, one seed.

Arms differ in what a classifier is shown: steps, batch, initial weights and the order of seeds are the same
in every training. But an arm with a pool trains once a round and, where there are validation patients enough
to choose by, publishes the best round, where A, B and C train once: docs/statistics.md says what that does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from components.shared import storage, stored_json
from components.shared.faults import InputError

REAL_POOL, SYNTHETIC_POOL = "real", "synthetic"
RESULT = "result.json"  # of a cell, written last
RESULT_SHAPE: stored_json.Shape = {"best_round": int, "test": dict, "predictions": str}
MADE = "made.json"  # of a set of synthetic images, written last
MOST_PODS = 40  # of a step of a study: each is several nodes of Argo's workflow, which may grow to 1 MB
CELLS = "cells"  # the folder of all of them, below the study's
ALL_PLANES, LABELLED_PLANES = "all", "labelled"  # what a GAN is trained on
BASELINE, PSEUDO = "baseline", "pseudo"  # the two steps of a fold: pseudo-labels start from arm C


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What a classifier is trained on."""

    letter: str
    title: str
    all_labels: bool = False
    augment: bool = True  # classical augmentation: crops, turns, mirrors, light
    pool: str = ""  # where pseudo-labelled planes come from
    gan_planes: str = ALL_PLANES
    shuffled: bool = False  # pseudo-labels are exchanged at random: what do they say?


ARMS = {
    arm.letter: arm
    for arm in (
        Arm(letter="A", title="All labels", all_labels=True, augment=False),
        Arm(letter="B", title="Labelled only", augment=False),
        Arm(letter="C", title="Labelled, augmented"),
        Arm(letter="D", title="C + hidden real planes", pool=REAL_POOL),
        Arm(letter="E", title="C + synthetic images", pool=SYNTHETIC_POOL),
        Arm(letter="F", title="E, GAN on labelled", pool=SYNTHETIC_POOL, gan_planes=LABELLED_PLANES),
        Arm(letter="G", title="E, labels shuffled", pool=SYNTHETIC_POOL, shuffled=True),
    )
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every combination that a study runs."""

    folds: int  # of the folds in which patients are split, those that are tested in turn
    fractions: Sequence[float]  # of the labels
    seeds: int
    gans: int  # a fold; seeds take them in turn
    arms: str  # their letters

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Return the combinations that the parameters of a study name."""
        return cls(
            fractions=list(parameters["label_fractions"]),
            **{name: parameters[name] for name in ("folds", "seeds", "gans", "arms")},
        )

    def cells(self, step: str) -> list["Cell"]:
        """Return the cells of one step, fold by fold."""
        return [
            Cell(fold=fold, arm=arm.letter, fraction=fraction, seed=seed)
            for fold in range(self.folds)
            for arm in (ARMS[letter] for letter in sorted(self.arms))
            if bool(arm.pool) == (step == PSEUDO)
            for fraction in self.fractions_of(arm)
            for seed in range(self.seeds)
        ]

    def all_cells(self) -> list["Cell"]:
        """Return every cell, those that others begin with first."""
        return [*self.cells(BASELINE), *self.cells(PSEUDO)]

    def fractions_of(self, arm: Arm) -> Sequence[float]:
        """Return the label fractions at which an arm is run."""
        if arm.all_labels:
            return [1.0]
        return self.fractions[:1] if arm.gan_planes == LABELLED_PLANES else self.fractions

    def sources(self) -> list["Source"]:
        """Return the sets of synthetic images that the arms ask for, fold by fold."""
        arms = (ARMS[letter] for letter in sorted(self.arms))
        wanted = dict.fromkeys(arm.gan_planes for arm in arms if arm.pool == SYNTHETIC_POOL)
        return [
            Source(fold=fold, planes=planes, gan=gan)
            for fold in range(self.folds)
            for planes in wanted
            for gan in range(self.gans)
        ]

    def source_of(self, cell: "Cell") -> "Source":
        """Return the synthetic images that a cell's pool is made of."""
        return Source(fold=cell.fold, planes=ARMS[cell.arm].gan_planes, gan=self.gan_of(cell.seed))

    def gan_of(self, seed: int) -> int:
        """Return which of a fold's GANs a seed takes."""
        return seed % self.gans


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One arm, trained once."""

    fold: int  # whose patients are tested
    arm: str
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        """A name to be found by, e.g. `fold0_E_0.2_seed1`."""
        short = f"{self.fraction:g}"
        fraction = short if float(short) == self.fraction else repr(self.fraction)  # 1/6: its cell is its own
        return f"fold{self.fold}_{self.arm}_{fraction}_seed{self.seed}"

    @classmethod
    def named(cls, name: str) -> "Cell":
        """Return the cell of that name."""
        found = re.fullmatch(r"fold(\d+)_([A-G])_([0-9.e-]+)_seed(\d+)", name)
        if found is None:
            raise InputError(f"cell={name}: valid: a name such as fold0_E_0.2_seed1")
        fold, arm, fraction, seed = found.groups()
        return cls(fold=int(fold), arm=arm, fraction=float(fraction), seed=int(seed))

    def uri(self, study_uri: str) -> str:
        """Return where its ledger and its result are."""
        return storage.join(study_uri, CELLS, self.name)

    @property
    def start(self) -> "Cell":
        """The cell whose classifier is round 0 of this one: arm C, the same labels and seed."""
        return Cell(fold=self.fold, arm="C", fraction=self.fraction, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One GAN and its images."""

    fold: int
    planes: str  # all or labelled
    gan: int  # which of a fold's GANs

    @property
    def name(self) -> str:
        """A name to be found by, e.g. `fold0_all_gan0`."""
        return f"fold{self.fold}_{self.planes}_gan{self.gan}"

    def uri(self, study_uri: str) -> str:
        """Return where its images are."""
        return storage.join(study_uri, "synthetic", self.name)

    @classmethod
    def named(cls, name: str) -> "Source":
        """Return the source of that name."""
        found = re.fullmatch(rf"fold(\d+)_({ALL_PLANES}|{LABELLED_PLANES})_gan(\d+)", name)
        if found is None:
            raise InputError(f"source={name}: valid: a name such as fold0_all_gan0")
        fold, planes, gan = found.groups()
        return cls(fold=int(fold), planes=planes, gan=int(gan))


def dealt(names: Sequence[str]) -> list[str]:
    """Return what each pod of a step does, in order: one name, or where there are many as few as can be."""
    size = -(-len(names) // MOST_PODS) or 1
    return [" ".join(names[i : i + size]) for i in range(0, len(names), size)]


def generators_of_studies(state_uri: str) -> list[str]:
    """Return the digests of the generators whose images the studies on a state keep."""
    made = [found.uri for found in storage.list_tree(state_uri) if found.uri.endswith(f"/{MADE}")]
    return [str(stored_json.read(uri, {"generator": str})["generator"]) for uri in made]
