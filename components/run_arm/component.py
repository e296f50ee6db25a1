"""KFP interface of run_arm."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def run_arm(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    cell: str,
    state_uri: str,
    run: str,
    owner: str,
    label_fractions: list[float],
    folds: int,
    seeds: int,
    gans: int,
    arms: str,
    architecture: str,
    epochs: int,
    image_size_px: int,
    pretrained_uri: str,
    label_unit: str,
    confidence_threshold: float,
    threshold_rule: str,
    max_class_ratio: float,
    max_rounds: int,
    patience: int,
    min_gain: float,
    relabel: str,
    seed: int,
) -> str:
    """Train and test one cell; a failure becomes its row in the report, and the other cells go on."""
    from pathlib import Path

    from components.relabel_images.stage import Config as RelabelConfig
    from components.run_arm.stage import Config, run_arm
    from components.shared import storage
    from components.shared.failures import surviving
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.shared.study import Cell, Grid
    from components.train_classifier.stage import Config as TrainConfig

    chosen = Cell.named(cell)
    config = Config(
        study_uri=storage.join(state_uri, run),
        grid=Grid(folds=folds, fractions=label_fractions, seeds=seeds, gans=gans, arms=arms),
        training=TrainConfig(
            architecture=architecture,
            epochs=epochs,
            size_px=image_size_px,
            pretrained_uri=pretrained_uri,
            label_unit=label_unit,
            label_seed=seed,
            seed=seed,
        ),
        relabelling=RelabelConfig(
            round=0,
            confidence_threshold=confidence_threshold,
            threshold_rule=threshold_rule,
            max_class_ratio=max_class_ratio,
            relabel=relabel,
        ),
        max_rounds=max_rounds,
        patience=patience,
        min_gain=min_gain,
    )
    with stage(f"arm {cell}") as progress:
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        uri = chosen.uri(config.study_uri)
        return surviving(uri, f"arm {cell}", lambda: run_arm(config, chosen, *opened, owner, progress))
