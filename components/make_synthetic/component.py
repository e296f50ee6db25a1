"""KFP interface of make_synthetic."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def make_synthetic(
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    source: str,
    state_uri: str,
    run: str,
    label_fractions: list[float],
    label_unit: str,
    kimg: float,
    resolution: int,
    gamma: float,
    batch: int,
    channel_base: int,
    mirror: bool,
    augment: str,
    resume_uri: str,
    truncations: list[float],
    images: int,
    seed: int,
) -> str:
    """Train one GAN of a fold and sample it; a failure is kept as a reason, and the other arms go on."""
    from pathlib import Path

    from components.generate_images.stage import Config as GenerateConfig
    from components.make_synthetic.stage import Config, make_synthetic
    from components.shared import storage
    from components.shared.failures import surviving
    from components.shared.planes import PlaneSet
    from components.shared.progress import stage
    from components.shared.splits import Splits
    from components.shared.study import Source
    from components.train_gan.stage import Config as GanConfig

    chosen = Source.named(source)
    config = Config(
        study_uri=storage.join(state_uri, run),
        gan=GanConfig(
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
            label_unit=label_unit,
            label_seed=seed,
        ),
        generation=GenerateConfig(truncations=truncations, images=images, seed=seed),
        label_fraction=label_fractions[0],
    )
    with stage(f"synthetic {source}") as progress:
        opened = PlaneSet.open(Path(planes.path)), Splits.read(Path(splits.path))
        uri = chosen.uri(config.study_uri)
        work = lambda: make_synthetic(config, chosen, *opened, progress)  # noqa: E731
        return surviving(uri, f"synthetic {source}", work)
