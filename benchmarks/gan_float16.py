"""What a discriminator's gradients lose in float16 where an image has a small share of the loss.

python benchmarks/gan_float16.py --res 256 --threads 2

One image, a network that has learnt nothing: for each share the length of the difference to float32's
gradient, relative to it, block by block. A mean over a batch of 16 gives an image a share of 1/16; training
undoes that by a scale (stylegan2_ada/training_state.py, `_move`).
"""

import argparse

import torch
from gan_training import distance
from stylegan2_ada import derived
from stylegan2_ada.config import TrainingConfig
from stylegan2_ada.loss import generator_loss
from stylegan2_ada.networks import Discriminator
from stylegan2_ada.resampling import binomial_filter, upsample
from stylegan2_ada.training_state import architecture_of
from torch import Tensor

SHARES = (1.0, 1 / 4, 1 / 16, 1 / 64)


def smooth_image(resolution: int) -> Tensor:
    """Return an image without fine detail, 1 x 1 x H x W."""
    image = torch.randn(1, 1, 8, 8)
    while image.shape[-1] < resolution:
        image = upsample(image, binomial_filter())
    return (image * 0.4).clamp(-1, 1)


def gradients(network: Discriminator, image: Tensor, share: float) -> dict[str, Tensor]:
    """Return the gradient of each block, undone of the share that the image had."""
    network.zero_grad()
    (generator_loss(network(image)) * share).backward()  # type: ignore[no-untyped-call]
    blocks = {name.partition(".")[0] for name, _ in network.named_parameters()}
    found = {block: list(network.get_submodule(block).parameters()) for block in blocks}
    return {
        block: torch.cat([p.grad.flatten() / share for p in parameters if p.grad is not None])
        for block, parameters in found.items()
    }


def losses(resolution: int) -> dict[float, dict[str, float]]:
    """Return how far each block's gradient is from float32's, for every share."""
    torch.manual_seed(0)
    config = derived(TrainingConfig(resolution=resolution, batch=16, dtype="fp16"))
    network, image = architecture_of(config).discriminator(1), smooth_image(resolution)
    exact = gradients(network, image, 1.0)
    network.low = torch.float16
    found = {share: gradients(network, image, share) for share in SHARES}
    return {
        share: {block: distance(values, exact[block]) for block, values in blocks.items()}
        for share, blocks in found.items()
    }


def main() -> None:
    """Print one line per share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--res", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for share, blocks in losses(options.res).items():
        ordered = sorted(blocks, key=lambda block: -int(block[1:]))
        print(f"share {share:<9g}", "  ".join(f"{block} {blocks[block]:.4f}" for block in ordered))


if __name__ == "__main__":
    main()
