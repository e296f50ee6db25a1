"""KFP interface of train_gan."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def train_gan(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    state_uri: str,
    kimg: float,
    resolution: int,
    gamma: float,
    batch: int,
    channel_base: int,
    mirror: bool,
    augment: str,
    resume_uri: str,
    seed: int,
    generator: dsl.Output[dsl.Model],
) -> None:
    """Train StyleGAN2-ADA on the coronal and sagittal planes of the training patients."""
    from pathlib import Path

    from components.shared import storage
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.train_gan.stage import Config, train_gan

    with stage("train_gan") as progress:
        config = Config(
            kimg=kimg,
            resolution=resolution,
            gamma=gamma,
            batch=batch,
            channel_base=channel_base,
            mirror=mirror,
            augment=augment,
            resume_uri=resume_uri,
            seed=seed,
            checkpoint_uri=storage.join(state_uri, "gan"),
        )
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        train_gan(config, *opened, Path(generator.path), progress)
