"""The pictures of a study: its planes, what each GAN made of them, what was accepted and what is doubtful."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.report import pictures
from components.report.doubtful import SHOWN, ContactSheet, contact_sheet, unlabelled
from components.shared import judgement, storage, stored_json
from components.shared.expert_labels import ExpertRow, of_images
from components.shared.ledger import LabelRow, Ledger
from components.shared.planes import CLASSES, PlaneSet
from components.shared.study import ARMS, MADE, RESULT, RESULT_SHAPE, SYNTHETIC_POOL, Cell, Grid, Source

Captioned = list[tuple[str, list[pictures.Tile]]]

_GRIDS = 6  # sets of synthetic images shown


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one arm made of synthetic images, over all folds: of each the first seed that came to its end."""

    arm: str  # empty where none came to its end
    examples: Captioned
    sheet: ContactSheet


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Where the pictures come from."""

    study_uri: str
    grid: Grid
    planes: PlaneSet
    patients: Collection[str]
    side: int  # of the synthetic images, in pixels
    experts: Sequence[ExpertRow]  # all that the study was given, whichever GAN's images they are of

    def samples(self) -> Captioned:
        """Return planes of each class that there is."""
        tiles = [(label, pictures.sample_tiles(self.planes, label, self.patients)) for label in CLASSES]
        return [(label, found) for label, found in tiles if found]

    def grids(self) -> list[tuple[str, str]]:
        """Return captions and grids: real planes as small as the GAN saw them, then each GAN's."""
        grids = [pictures.real_grid(self.planes, self.patients, self.side)]
        for source in self.grid.sources()[:_GRIDS]:
            if storage.exists(storage.join(source.uri(self.study_uri), MADE)):
                grids += self._of(source, apart=len(grids) == 1)
        return grids

    def _of(self, source: Source, *, apart: bool) -> list[tuple[str, str]]:
        """Return a GAN's images in one picture, or those of each truncation apart."""
        which = f"GAN {source.gan}" if self.grid.gans > 1 else "GAN"
        name = f"Fold {source.fold}, {which} on {source.planes} planes"
        with self._images(source) as images:
            if not apart:
                return [(name, pictures.mosaic(images, images.rows, self.side))]
            psis = sorted({row.truncation for row in images.rows})
            parts = {psi: [row for row in images.rows if row.truncation == psi] for psi in psis}
            return [
                (f"{name}, truncation ψ = {psi:g}", pictures.mosaic(images, rows, self.side))
                for psi, rows in parts.items()
            ]

    def worst(self) -> tuple[str, str] | None:
        """Return which GAN is the first that came to its end, and its likest pairs of image and plane."""
        for source in self.grid.sources():
            sheet = storage.join(source.uri(self.study_uri), "planes", judgement.FOLDER, judgement.SHEET)
            if storage.exists(sheet):
                return source.name, pictures.png_uri(storage.read_bytes(sheet))
        return None

    def judged(self) -> Judged:
        """Return what the first arm with honest pseudo-labels on synthetic images accepted and doubted."""
        for arm in (ARMS[letter] for letter in sorted(self.grid.arms)):
            if arm.pool == SYNTHETIC_POOL and not arm.shuffled and (cells := self._done(arm.letter)):
                return self._judged_by(cells)
        return Judged(arm="", examples=[], sheet=ContactSheet().with_labels(self.experts))

    def _done(self, letter: str) -> list[Cell]:
        """Return the first cell of each fold that came to its end."""
        found: dict[int, Cell] = {}
        for cell in self.grid.all_cells():
            wanted = (cell.arm, cell.fraction) == (letter, self.grid.fractions[0])
            if wanted and cell.fold not in found and self._ended(cell):
                found[cell.fold] = cell
        return list(found.values())

    def _ended(self, cell: Cell) -> bool:
        return storage.exists(storage.join(cell.uri(self.study_uri), RESULT))

    def _judged_by(self, cells: Sequence[Cell]) -> Judged:
        examples: Captioned = []
        sheet = ContactSheet()
        for cell in cells:
            labels = self._labels(cell)
            with self._images(self.grid.source_of(cell)) as images:
                experts = of_images(self.experts, images)
                share = {"wanted": SHOWN // len(cells), "after": len(sheet.tiles)}
                sheet += contact_sheet(images, labels, experts, **share)
                examples = examples or pictures.accepted_tiles(images, unlabelled(labels, experts))
        return Judged(arm=cells[0].arm, examples=examples, sheet=sheet.with_labels(self.experts))

    def _labels(self, cell: Cell) -> list[LabelRow]:
        """Return the labels that the cell's published classifier was trained on, or was to be."""
        ledger = Ledger.at(cell.uri(self.study_uri))
        result = stored_json.read(storage.join(ledger.uri, RESULT), RESULT_SHAPE)
        return ledger.labels(max(result["best_round"] - 1, 0))

    @contextmanager
    def _images(self, source: Source) -> Iterator[PlaneSet]:
        with tempfile.TemporaryDirectory() as folder:
            storage.download(storage.join(source.uri(self.study_uri), "planes"), Path(folder))
            yield PlaneSet.open(Path(folder))
