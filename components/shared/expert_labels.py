"""What an expert wrote into doubtful.csv, fed back as labels that no classifier overrules.

    number,image,generator,predicted,confidence,label

`label` is for the expert: coronal, sagittal, none (of them: never trained on; noise says the same), or empty
(not looked at). Spreadsheets may write `;` for `,` and a byte-order mark.
Images of two generators share names, so a row also names its own.
"""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields

from components.shared.faults import InputError
from components.shared.planes import GAN_CLASSES, NOISE, PlaneSet

NONE = "none"
_LABELS = (*GAN_CLASSES, NONE, "")
_VALID = "coronal, sagittal, none, noise, or empty for images that were not looked at"
DIGITS = 12  # of a generator's digest


@dataclass(frozen=True, kw_only=True)
class ExpertRow:
    """One image, as it is shown to the expert and as it comes back."""

    number: int  # on the contact sheet
    image: str
    generator: str  # first digits of its digest
    predicted: str
    confidence: str
    label: str = ""


def write(rows: Sequence[ExpertRow]) -> str:
    """Return the table that the expert fills in."""
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, [field.name for field in fields(ExpertRow)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return buffer.getvalue()


def parse(text: str, name: str) -> list[ExpertRow]:
    """Return the rows that have a label; InputError names the line that cannot be used."""
    header = text.partition("\n")[0]
    file = io.StringIO(text.removeprefix("\ufeff"))
    lines = csv.DictReader(file, delimiter=";" if ";" in header else ",")
    needed = {"image", "generator", "label"}
    if not needed <= set(lines.fieldnames or ()):
        found = ", ".join(lines.fieldnames or ()) or "none"
        raise InputError(
            f"{name}: columns {found}; valid: a doubtful.csv of a report, with image, generator, label"
        )
    labels: dict[tuple[str, str], str] = {}
    for line in lines:
        label = (line["label"] or "").strip().lower()
        label = NONE if label == NOISE else label
        key = (line["generator"], line["image"])
        if label not in _LABELS:
            raise InputError(f"{name}, line {lines.line_num}: label {line['label']}; valid: {_VALID}")
        if label and labels.setdefault(key, label) != label:
            raise InputError(f"{name}, line {lines.line_num}: {line['image']} has two labels; valid: one")
    if not labels:
        raise InputError(f"{name}: no row has a label; valid: {_VALID} in the column label")
    return [
        ExpertRow(number=0, image=image, generator=generator, predicted="", confidence="", label=label)
        for (generator, image), label in labels.items()
    ]


def require_kept(rows: Sequence[ExpertRow], digests: Collection[str], name: str) -> None:
    """Refuse labels of images whose generator is not among those that a state keeps."""
    kept = {digest[:DIGITS] for digest in digests}
    for row in rows:
        if row.generator not in kept:
            raise InputError(
                f"{name}: {row.image} is of generator {row.generator or '(empty)'}, which no run of this"
                " pipeline on state_uri keeps; valid: a doubtful.csv of this pipeline and state_uri"
            )


def require_images(rows: Sequence[ExpertRow], images: PlaneSet) -> None:
    """Refuse labels of images that this run's generator did not make."""
    known = of_images(rows, images)
    for row in rows:
        if row not in known:
            raise InputError(
                f"expert_labels_uri: {row.image} of generator {row.generator} is none of this run's images;"
                " valid: labels of a run with the same volumes and GAN, which keeps its generator"
            )


def of_images(rows: Sequence[ExpertRow], images: PlaneSet) -> list[ExpertRow]:
    """Return those labels that are of a generator's images."""
    made = {(row.generator[:DIGITS], row.image) for row in images.rows}
    return [row for row in rows if (row.generator, row.image) in made]


def by_image(rows: Sequence[ExpertRow]) -> dict[str, str]:
    """Return the labels by image."""
    return {row.image: row.label for row in rows}
