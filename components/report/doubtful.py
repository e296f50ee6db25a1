"""The images that a classifier was least sure of: numbered pictures, and a table for an expert to fill in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.report import pictures
from components.shared import expert_labels
from components.shared.expert_labels import DIGITS, ExpertRow
from components.shared.ledger import LabelRow
from components.shared.planes import PlaneSet

SHOWN = 60  # images on a contact sheet


@dataclass(frozen=True, kw_only=True)
class ContactSheet:
    """Pictures and rows of the same numbers."""

    tiles: Sequence[pictures.Tile] = ()
    rows: Sequence[ExpertRow] = ()

    @property
    def table(self) -> str:
        """doubtful.csv."""
        return expert_labels.write(self.rows)

    def with_labels(self, experts: Sequence[ExpertRow]) -> "ContactSheet":
        """Add, unnumbered, every label that an expert gave before: the file that goes out can come back."""
        return ContactSheet(tiles=self.tiles, rows=[*self.rows, *experts])

    def __add__(self, other: "ContactSheet") -> "ContactSheet":
        return ContactSheet(tiles=[*self.tiles, *other.tiles], rows=[*self.rows, *other.rows])


def contact_sheet(
    images: PlaneSet,
    labels: Sequence[LabelRow],
    experts: Sequence[ExpertRow] = (),
    *,
    wanted: int = SHOWN,
    after: int = 0,
) -> ContactSheet:
    """Return the images of one generator that a round was least sure of, numbered on from `after`.

    Images that an expert labelled are left out: of them there is no doubt.
    """
    chosen = pictures.doubtful(unlabelled(labels, experts), wanted)
    generators = {row.image: row.generator[:DIGITS] for row in images.rows}
    numbered = list(enumerate(chosen, after + 1))
    return ContactSheet(
        tiles=[
            replace(tile, lines=[f"{number}. {tile.lines[0]}"])
            for (number, _), tile in zip(numbered, pictures.label_tiles(images, chosen), strict=True)
        ],
        rows=[
            ExpertRow(
                number=number,
                image=row.image,
                generator=generators[row.image],
                predicted=row.label,
                confidence=f"{row.confidence:.3f}",
            )
            for number, row in numbered
        ],
    )


def unlabelled(labels: Sequence[LabelRow], experts: Sequence[ExpertRow]) -> list[LabelRow]:
    """Return what classifiers alone said."""
    known = expert_labels.by_image(experts)
    return [row for row in labels if row.image not in known]
