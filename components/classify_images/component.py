"""KFP interface of classify_images."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def classify_images(
    synthetic: dsl.Input[dsl.Dataset],
    classifier: dsl.Input[dsl.Model],
    number: int,
    state_uri: str,
    run: str,
    owner: str,
    relabel: str,
    predictions: dsl.Output[dsl.Artifact],
) -> None:
    """Score the synthetic images that this round judges."""
    from pathlib import Path

    from components.classify_images.stage import Config, classify_images
    from components.shared.expert_labels import require_images
    from components.shared.lease import lease
    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.pool import pool_of
    from components.shared.progress import stage
    from components.shared.splits import TRAIN

    ledger = Ledger(state_uri=state_uri, run=run)
    with stage(f"round {number}: classify_images") as progress, lease(ledger.uri, owner):
        images = PlaneSet.open(Path(synthetic.path))
        ledger.splits().require_only((TRAIN,), images.seen, f"synthetic planes {images.digest[:12]}")
        require_images(ledger.expert_labels(), images)
        pool = pool_of(ledger, number, relabel, [row.image for row in images.rows])
        out = Path(predictions.path)
        classify_images(Config(), Path(classifier.path), images, pool, out, progress)
