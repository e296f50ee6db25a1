"""KFP interface of generate_images."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def generate_images(
    generator: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Artifact],
    truncations: list[float],
    images: int,
    seed: int,
    synthetic: dsl.Output[dsl.Dataset],
) -> None:
    """Sample the generator at every truncation, the same seeds at each."""
    from pathlib import Path

    from components.generate_images.stage import Config, generate_images, refuse_measured
    from components.shared.progress import stage
    from components.shared.splits import Splits

    with stage("generate_images") as progress:
        refuse_measured(Path(generator.path), Splits.read(Path(splits.path)))
        config = Config(truncations=truncations, images=images, seed=seed)
        counts = generate_images(config, Path(generator.path), Path(synthetic.path), progress)
        synthetic.metadata.update(counts)
