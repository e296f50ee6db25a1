"""KFP interfaces of the GAN: what it starts from, its training, and what is kept for the next run."""

from typing import NamedTuple

from kfp import dsl

from components.shared.images import CPU_IMAGE, GPU_IMAGE


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
    weights: str,
    checkpoint_kimg: float,
    seed: int,
    generator: dsl.Output[dsl.Model],
) -> None:
    """Train StyleGAN2-ADA on the coronal and sagittal planes of the training patients."""
    from pathlib import Path

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
            state_uri=state_uri,
            checkpoint_kimg=checkpoint_kimg,
        )
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        train_gan(config, *opened, Path(generator.path), progress)
        generator.metadata["weights"] = weights  # and so the cache knows what lay at resume_uri


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def find_generator(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    state_uri: str,
    snapshot_digest: str,
    warm_start: bool,
    warm_start_kimg: float,
    kimg: float,
    resume_uri: str,
    resolution: int,
    channel_base: int,
) -> NamedTuple("Start", resume_uri=str, kimg=float):  # type: ignore[valid-type]
    """Say what the GAN starts from and how long it is trained: shorter from an earlier run's generator."""
    from pathlib import Path

    from components.shared.planes import PlaneSet
    from components.shared.progress import emit, stage
    from components.shared.splits import Splits
    from components.train_gan.warm_start import newest_generator

    with stage("find_generator"):
        if warm_start and not resume_uri:
            opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
            found = newest_generator(state_uri, snapshot_digest, (resolution, channel_base), *opened)
            emit("find_generator", "warning", message=f"warm start: {found or 'no earlier generator fits'}")
            if found:
                return (found, warm_start_kimg)
        return (resume_uri, kimg)


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def keep_generator(generator: dsl.Input[dsl.Model], state_uri: str, snapshot_digest: str) -> str:
    """Keep the generator in the state, for a later run to start from."""
    from pathlib import Path

    from components.shared.progress import stage
    from components.train_gan.warm_start import keep_generator

    with stage("keep_generator"):
        return keep_generator(Path(generator.path), state_uri, snapshot_digest)
