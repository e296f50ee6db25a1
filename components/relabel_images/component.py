"""KFP interface of relabel_images."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def relabel_images(
    predictions: dsl.Input[dsl.Artifact],
    classifier: dsl.Input[dsl.Model],
    number: int,
    state_uri: str,
    run: str,
    owner: str,
    confidence_threshold: float,
    threshold_rule: str,
    max_class_ratio: float,
    relabel: str,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Accept what is confident enough and seal the round."""
    import json
    from pathlib import Path

    from components.relabel_images.stage import Config, relabel_images
    from components.shared.ledger import Ledger
    from components.shared.progress import stage
    from components.shared.weights import ABOUT

    with stage(f"round {number}: relabel_images"):
        config = Config(
            round=number,
            confidence_threshold=confidence_threshold,
            threshold_rule=threshold_rule,
            max_class_ratio=max_class_ratio,
            relabel=relabel,
        )
        trained = json.loads((Path(classifier.path) / ABOUT).read_text())
        ledger = Ledger(state_uri=state_uri, run=run)
        sealed = relabel_images(config, ledger, Path(predictions.path), trained, owner)
        for name in ("pool", "newly_accepted", "below", "capped", "rejected", "flips", "evicted"):
            metrics.log_metric(name, sealed[name])
