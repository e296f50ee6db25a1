"""The training phases of StyleGAN2-ADA on plain_stylegan2.py, as the papers write them down.

The pipe resamples the whole batch whatever was drawn, the discriminator's loss is two backward passes, the
optimiser and the running mean go from parameter to parameter. Random draws and matrices of the pipe are those
of stylegan2_ada, so that both do the same work on the same numbers.
"""

import copy
import math

import torch
from plain_stylegan2 import Discriminator, Generator, Normal, insert_zeros
from stylegan2_ada.augment import SETS, RandomDraws, colour_matrix, geometry_matrix
from stylegan2_ada.chance import Chance, PhaseChance
from stylegan2_ada.training_state import TrainingState
from torch import Tensor, nn
from torch.nn import functional

# The low-pass of the sym6 wavelet, scaled to a sum of one.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
REACH = 3  # pixels that the filter reaches over the border
RESAMPLED = {"xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"}
RECOLOURED = {"brightness", "contrast", "lumaflip", "hue", "saturation"}


def augmented(images: Tensor, operations: tuple[str, ...], p: float, draws: RandomDraws) -> Tensor:
    """Apply geometry and colour to every image (arXiv 2006.06676, Appendix B)."""
    if not set(operations) <= RESAMPLED | RECOLOURED:
        raise SystemExit(f"pipe: {operations} is more than geometry and colour, all that the plain peer has")
    n, channels, height, width = images.shape
    inverse = geometry_matrix(operations, p, draws, height, width)
    colour = colour_matrix(operations, p, draws, channels)
    if RESAMPLED & set(operations):
        images = resampled(images, torch.from_numpy(inverse).float().expand(n, 3, 3))
    if RECOLOURED & set(operations):
        images = recoloured(images, torch.from_numpy(colour).float().expand(n, 4, 4))
    return images


def resampled(images: Tensor, inverse_N33: Tensor) -> Tensor:
    """Reflect, enlarge, sample and shrink again (Figure 12)."""
    n, channels, height, width = images.shape
    taps_K = torch.tensor(SYM6, device=images.device) / math.sqrt(2)
    x, y = margins(inverse_N33, height, width)
    images = insert_zeros(functional.pad(images, (x, x, y, y), mode="reflect"))
    images = separable(functional.pad(images, (6, 5, 6, 5)), 2 * taps_K.flip(0))
    tall, wide = 2 * (height + 2 * REACH), 2 * (width + 2 * REACH)
    # From points in half sizes of the output to those of the input, both twice as fine as the image.
    fine = torch.tensor([[2, 0, -0.5], [0, 2, -0.5], [0, 0, 1]])
    inwards = torch.diag(torch.tensor([2 / images.shape[3], 2 / images.shape[2], 1]))
    outwards = torch.diag(torch.tensor([wide / 2, tall / 2, 1]))
    theta_N33 = inwards @ fine @ inverse_N33 @ fine.inverse() @ outwards
    size = [n, channels, tall, wide]
    grid = functional.affine_grid(theta_N33[:, :2].to(images.device), size, align_corners=False)
    images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return separable(functional.pad(images, (-1, -1, -1, -1)), taps_K)[:, :, ::2, ::2]


def margins(inverse_N33: Tensor, height: int, width: int) -> tuple[int, int]:
    """Return the pixels beyond the border that the batch reads at most."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, x, -x, x], [-y, -y, y, y], [1, 1, 1, 1]])
    far = (inverse_N33 @ corners).abs().amax(dim=(0, 2))
    beyond_x, beyond_y = math.ceil(far[0] - x + 2 * REACH), math.ceil(far[1] - y + 2 * REACH)
    return min(max(beyond_x, 0), width - 1), min(max(beyond_y, 0), height - 1)


def separable(x_NCHW: Tensor, kernel_K: Tensor) -> Tensor:
    """Correlate every channel on both axes."""
    c, k = x_NCHW.shape[1], len(kernel_K)
    x_NCHW = functional.conv2d(x_NCHW, kernel_K.expand(c, 1, 1, k), groups=c)
    return functional.conv2d(x_NCHW, kernel_K[:, None].expand(c, 1, k, 1), groups=c)


def recoloured(images: Tensor, matrix_N44: Tensor) -> Tensor:
    """Apply colour matrices; grey is the mean of what becomes of R = G = B."""
    matrix_N44 = matrix_N44.to(images.device)
    rgb = images.expand(-1, 3, -1, -1)
    shift = matrix_N44[:, :3, 3, None, None]
    rgb = torch.einsum("nij,njhw->nihw", matrix_N44[:, :3, :3], rgb) + shift
    return rgb if images.shape[1] == 3 else rgb.mean(dim=1, keepdim=True)


class Plain:
    """The peer of a TrainingState: the same phases from the same weights."""

    def __init__(self, ours: TrainingState) -> None:
        shape, config, device = ours.g.architecture, ours.config, ours.path_mean.device
        self.config, self.device, self.p = config, device, ours.p
        self.g = Generator(shape, torch.float32).to(device)
        self.d = Discriminator(shape, config.group, torch.float32).to(device)
        self.g_ema = copy.deepcopy(self.g).requires_grad_(False)
        self.load(ours)
        self.g_optimiser = plain_adam(self.g, config.learning_rate, config.path_interval)
        self.d_optimiser = plain_adam(self.d, config.learning_rate, config.r1_interval)

    def load(self, ours: TrainingState) -> None:
        """Take over the weights and the mean of path lengths."""
        for name in ("g", "d", "g_ema"):
            getattr(self, name).load_state_dict(getattr(ours, name).state_dict())
        self.path_mean = ours.path_mean.clone()

    def g_main(self, chance: Chance) -> None:
        """Move the generator by its loss."""
        drawn = chance.phase("Gmain")
        self.g_optimiser.zero_grad()
        self.d.requires_grad_(False)
        fakes = self.g.synthesis(self.styles(drawn, self.config.batch), self.normal(drawn.noise_seed))
        functional.softplus(-self.d(self.augment(fakes, drawn, 0))).mean().backward()
        self.d.requires_grad_(True)
        self.g_optimiser.step()

    def g_reg(self, chance: Chance) -> None:
        """Move the generator by path length regularisation."""
        drawn = chance.phase("Greg")
        self.g_optimiser.zero_grad()
        w_NLD = self.styles(drawn, max(self.config.batch // 2, 1))
        fakes = self.g.synthesis(w_NLD, self.normal(drawn.noise_seed))
        direction = self.normal(drawn.direction_seed)(fakes.shape) / math.sqrt(fakes[0, 0].numel())
        (gradient,) = torch.autograd.grad((fakes * direction).sum(), w_NLD, create_graph=True)
        lengths_N = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        mean = self.path_mean.lerp(lengths_N.mean(), 0.01)
        self.path_mean = mean.detach()
        penalty = (lengths_N - mean).square().mean()
        (penalty * (self.config.path_weight * self.config.path_interval)).backward()
        self.g_optimiser.step()

    def d_main(self, reals: Tensor, chance: Chance) -> None:
        """Move the discriminator by its loss, in two backward passes."""
        drawn = chance.phase("Dmain")
        self.d_optimiser.zero_grad()
        with torch.no_grad():
            fakes = self.g.synthesis(self.styles(drawn, self.config.batch), self.normal(drawn.noise_seed))
        functional.softplus(self.d(self.augment(fakes, drawn, 0))).mean().backward()
        functional.softplus(-self.d(self.augment(reals, drawn, 1))).mean().backward()
        self.d_optimiser.step()

    def d_reg(self, reals: Tensor, chance: Chance) -> None:
        """Move the discriminator by R1."""
        drawn = chance.phase("Dreg")
        self.d_optimiser.zero_grad()
        images = reals.detach().requires_grad_(True)
        logits = self.d(self.augment(images, drawn, 1))
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalty = gradient.square().sum(dim=(1, 2, 3)).mean()
        (penalty * (self.config.gamma / 2 * self.config.r1_interval)).backward()
        self.d_optimiser.step()

    @torch.no_grad()
    def average(self) -> None:
        """Move the running mean of the generator's weights."""
        weight = 1 - 0.5 ** (self.config.batch / (self.config.ema_kimg * 1000))
        for mean, now in zip(self.g_ema.parameters(), self.g.parameters(), strict=True):
            mean.copy_(mean.lerp(now, weight))
        for mean, now in zip(self.g_ema.buffers(), self.g.buffers(), strict=True):
            mean.copy_(now)

    def styles(self, drawn: PhaseChance, count: int) -> Tensor:
        """Map latents and mix them; the running mean of styles follows."""
        latents = drawn.latents(count, self.g.styles, self.config.mixing, None)
        w_NLD = self.g.mapping(latents.z)
        with torch.no_grad():
            self.g.mapping.w_avg.copy_(self.g.mapping.w_avg.lerp(w_NLD[:, 0].mean(dim=0), 0.005))
        if latents.cutoff < self.g.styles:
            other_NLD = self.g.mapping(latents.other)
            w_NLD = torch.cat([w_NLD[:, : latents.cutoff], other_NLD[:, latents.cutoff :]], dim=1)
        return w_NLD

    def augment(self, images: Tensor, drawn: PhaseChance, stream: int) -> Tensor:
        """Apply the pipe of the configuration."""
        draws = RandomDraws(count=len(images), rng=drawn.augment_rng(stream))
        return augmented(images, SETS[self.config.augment], self.p, draws)

    def normal(self, seed: int) -> Normal:
        """Return a source of N(0, 1)."""
        rng = torch.Generator(self.device).manual_seed(seed)
        return lambda shape: torch.randn(shape, generator=rng, device=self.device)


def plain_adam(network: nn.Module, learning_rate: float, interval: int) -> torch.optim.Adam:
    """Return Adam that goes from parameter to parameter, with rates for a lazy regulariser."""
    share = interval / (interval + 1)
    return torch.optim.Adam(
        network.parameters(), lr=learning_rate * share, betas=(0.0, 0.99**share), foreach=False, fused=False
    )
