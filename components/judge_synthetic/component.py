"""KFP interface of judge_synthetic."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def judge_synthetic(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    synthetic: dsl.Input[dsl.Dataset],
    classifier: dsl.Input[dsl.Model],
    max_copy_rate: float,
    inception_uri: str,
    weights: str,
    seed: int,
    kept: dsl.Output[dsl.Dataset],
) -> None:
    """Measure synthetic images against training patients' planes, and drop copies where they are too many."""
    from pathlib import Path

    from components.judge_synthetic.stage import Config, judge_synthetic
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits

    with stage("judge_synthetic") as progress:
        config = Config(max_copy_rate=max_copy_rate, inception_uri=inception_uri, seed=seed)
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        images = PlaneSet.open(Path(synthetic.path))
        out = Path(kept.path)
        found = judge_synthetic(config, *opened, images, Path(classifier.path), out, progress)
        kept.metadata.update({"copies": found["copies"]["count"], "dropped": found["copies"]["dropped"]})
        kept.metadata["weights"] = weights  # and so the cache knows what lay at inception_uri
