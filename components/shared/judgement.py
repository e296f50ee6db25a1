"""What judge_synthetic leaves in the PlaneSet of the images it keeps, and where.

judged/images.csv       a row for every synthetic image: the training plane it is likest to, copy or not
judged/worst.png        the 16 pairs nearest to, or furthest beyond, what counts as a copy
judged/judgement.json   every figure, and what was dropped; written after the other two
"""

import json
from pathlib import Path
from typing import Any

from components.shared.faults import InputError

FOLDER, TABLE, SHEET, JUDGEMENT = "judged", "images.csv", "worst.png", "judgement.json"
OWN_FEATURES = "the planes classifier of this run"


def read_judgement(images: Path) -> dict[str, Any]:
    """Return the judgement beside a PlaneSet, or raise InputError where the images were not judged."""
    path = images / FOLDER / JUDGEMENT
    if not path.is_file():
        raise InputError(f"{images}: images that were not judged; valid: a folder that judge_synthetic wrote")
    return dict(json.loads(path.read_text()))
