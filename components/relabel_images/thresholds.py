"""How sure a pseudo-label must be, class by class, and how many of a class may be accepted.

Both run over gan_classes: what is predicted outside them is never trained on, and counts for nothing here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from components.shared.labels import MINIMUM
from components.shared.ledger import LabelRow
from components.shared.planes import GAN_CLASSES
from components.shared.rounds import ACCEPTED, ADAPTIVE, CAPPED


def class_thresholds(rows: Sequence[LabelRow], threshold: float, rule: str) -> dict[str, float]:
    """Return the confidence above which each class is accepted: one for all, or adaptive ones."""
    if rule == ADAPTIVE:
        return adaptive_thresholds(rows, threshold)
    return dict.fromkeys(GAN_CLASSES, threshold)


def adaptive_thresholds(rows: Sequence[LabelRow], threshold: float) -> dict[str, float]:
    """Return lower thresholds for classes that are less known (FlexMatch, Zhang et al. 2021).

    A class has learnt as many images as are predicted it above the common threshold (eq. 5). They are divided
    by those of the class that learnt most (eq. 6) or, while more than that are unused, by the unused (their
    warm-up); the threshold is scaled by x / (2 - x) of it (eq. 7 and their convex mapping). A class of which
    nothing is surely known has threshold 0: all that is predicted it is accepted, up to max_class_ratio.
    """
    judged = [row for row in rows if row.label in GAN_CLASSES]
    learnt = Counter(row.label for row in judged if row.confidence > threshold)
    most = max(*(learnt[label] for label in GAN_CLASSES), len(judged) - learnt.total())
    status = {label: learnt[label] / most if most else 1.0 for label in GAN_CLASSES}
    return {label: threshold * share / (2 - share) for label, share in status.items()}


def capped(fresh: Sequence[LabelRow], carried: Mapping[str, int], ratio: float) -> list[LabelRow]:
    """Return the rows with the least sure of a class capped where it has too many of the accepted.

    A class may have `ratio` times as many as the smallest one, those carried from rounds before among them,
    and in any case as many as a class needs to be learnt.
    """
    accepted = [row for row in fresh if row.status == ACCEPTED]
    counts = Counter(row.label for row in accepted) + Counter(carried)
    limit = max(MINIMUM, int(ratio * min(counts[label] for label in GAN_CLASSES)))
    over: set[str] = set()
    for label in GAN_CLASSES:
        surest = sorted(
            (row for row in accepted if row.label == label), key=lambda row: (-row.confidence, row.image)
        )
        over.update(row.image for row in surest[max(0, limit - carried.get(label, 0)) :])
    return [replace(row, status=CAPPED) if row.image in over else row for row in fresh]
