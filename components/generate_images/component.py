"""KFP interface of generate_images."""

from kfp import dsl

from components.shared.images import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, install_kfp_package=False)
def generate_images(
    generator: dsl.Input[dsl.Model],
    truncations: list[float],
    images: int,
    seed: int,
    synthetic: dsl.Output[dsl.Dataset],
) -> None:
    """Sample the generator at every truncation, the same seeds at each."""
    from pathlib import Path

    from components.generate_images.stage import Config, generate_images
    from components.shared.progress import stage

    with stage("generate_images") as progress:
        config = Config(truncations=truncations, images=images, seed=seed)
        counts = generate_images(config, Path(generator.path), Path(synthetic.path), progress)
        synthetic.metadata.update(counts)
