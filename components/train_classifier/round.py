"""Trains the classifier of one pseudo-label round, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.classifier import describe
from components.shared.forgotten import require_remembered
from components.shared.lease import lease
from components.shared.ledger import Ledger
from components.shared.planes import PlaneSet
from components.shared.pool import accepted_labels
from components.shared.progress import Progress, silent
from components.shared.splits import Splits
from components.shared.weights import behind
from components.train_classifier.stage import Config, PseudoLabels, train_classifier


def train_round(
    config: Config,
    *,
    planes: PlaneSet,
    pool: PlaneSet | None,
    splits: Splits,
    ledger: Ledger,
    number: int,
    owner: str,
    out: Path,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Train on the labelled fraction and on what the round before accepted; return the classifier's JSON.

    The finished classifier is kept in the ledger at once, so that a run that dies before the round is
    sealed takes it from there instead of training again.
    """
    ledger.require_same_sides(splits)
    with lease(ledger.uri, owner):
        if not ledger.fetch_classifier(number, out):
            accepted = accepted_labels(ledger, number)
            pseudo = PseudoLabels(images=pool, labels=accepted) if pool and accepted else None
            train_classifier(config, planes, splits, pseudo, out, progress)
            ledger.keep_classifier(number, out)
        about = describe(out)
        # Whom a generator before this run saw, no splits of this run need know.
        known = behind(about, f"{ledger.uri}: round {number}")
        require_remembered(ledger.state_uri, known.patients, {*planes.seen.scans, *known.scans})
    return about
