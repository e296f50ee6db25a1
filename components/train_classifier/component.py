"""KFP interfaces of train_classifier: the supervised baseline, and the classifier of a round."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def train_classifier(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    architecture: str,
    epochs: int,
    image_size_px: int,
    pretrained_uri: str,
    weights: str,
    seed: int,
    classifier: dsl.Output[dsl.Model],
) -> None:
    """Train the supervised baseline on all labels of the training patients."""
    from pathlib import Path

    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.train_classifier.stage import Config, train_classifier

    with stage("train_classifier") as progress:
        config = Config(
            architecture=architecture,
            epochs=epochs,
            size_px=image_size_px,
            pretrained_uri=pretrained_uri,
            label_fraction=1.0,
            label_unit="plane",
            label_seed=seed,
            seed=seed,
        )
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        train_classifier(config, *opened, None, Path(classifier.path), progress)
        classifier.metadata["weights"] = weights  # and so the cache knows what lay at pretrained_uri


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def train_round(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    synthetic: dsl.Input[dsl.Dataset],
    number: int,
    state_uri: str,
    run: str,
    owner: str,
    architecture: str,
    epochs: int,
    image_size_px: int,
    pretrained_uri: str,
    label_fraction: float,
    label_unit: str,
    seed: int,
    classifier: dsl.Output[dsl.Model],
) -> None:
    """Train a round's classifier on the labelled fraction and on what the round before accepted."""
    from pathlib import Path

    from components.shared.ledger import Ledger
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.train_classifier.round import train_round
    from components.train_classifier.stage import Config

    with stage(f"round {number}: train_classifier") as progress:
        config = Config(
            architecture=architecture,
            epochs=epochs,
            size_px=image_size_px,
            pretrained_uri=pretrained_uri,
            label_fraction=label_fraction,
            label_unit=label_unit,
            label_seed=seed,
            seed=seed,
        )
        train_round(
            config,
            planes=PlaneSet.open(Path(planes.path)),
            pool=PlaneSet.open(Path(synthetic.path)),
            splits=Splits.read(Path(splits.path)),
            ledger=Ledger(state_uri=state_uri, run=run),
            number=number,
            owner=owner,
            out=Path(classifier.path),
            progress=progress,
        )
