"""The component accepts by the parameters that it is given."""

import json
from types import SimpleNamespace

import pytest
from kfp import dsl

from components.relabel_images.component import relabel_images
from tests.relabel_images.test_loop import begin, classifier, score


@pytest.mark.parametrize(
    ("threshold", "rule", "ratio", "accepted"),
    [
        (0.6, "global", 2.0, {"coronal": 20, "sagittal": 10}),
        (0.6, "global", 9.0, {"coronal": 50, "sagittal": 10}),
        (0.6855, "global", 9.0, {"coronal": 5, "sagittal": 0}),
        (0.6855, "adaptive", 9.0, {"coronal": 50, "sagittal": 10}),
    ],
)
def test_threshold_rule_and_ratio_decide_what_is_accepted(tmp_path, threshold, rule, ratio, accepted):
    ledger, pool = begin(tmp_path), [f"synthetic/{k:03}.png" for k in range(60)]
    labels = {image: "sagittal" if k < 10 else "coronal" for k, image in enumerate(pool)}
    score(tmp_path / "p", {image: 0.65 + k / 1000 for k, image in enumerate(pool)}, labels)
    (tmp_path / "classifier.json").write_text(json.dumps(classifier(0.5)))
    relabel_images.python_func(
        predictions=SimpleNamespace(path=str(tmp_path / "p")),
        classifier=SimpleNamespace(path=str(tmp_path)),
        number=0,
        state_uri=ledger.state_uri,
        run=ledger.run,
        owner="run",
        confidence_threshold=threshold,
        threshold_rule=rule,
        max_class_ratio=ratio,
        relabel="all",
        metrics=dsl.Metrics(),
    )
    (sealed,) = ledger.rounds()
    assert sealed["accepted"] == accepted
