"""What a GPU must do as a CPU does; `make test-gpu` runs it where there is one."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stylegan2_ada import TrainingConfig, checkpoint, derived, loss, train
from stylegan2_ada.augment import SETS, RandomDraws, augment
from stylegan2_ada.chance import Chance
from stylegan2_ada.training_state import SKIPPED, TrainingState
from torch import Tensor

from tests.stylegan2_ada.archives import write_archive
from tests.stylegan2_ada.parity import distance
from tests.stylegan2_ada.small_networks import discriminator, generator, images_like

pytestmark = [
    pytest.mark.gpu,
    # Remarks of PyTorch's own, which would be taken for failures here.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),
    pytest.mark.filterwarnings("ignore:Please use the new API settings to control TF32"),
]
GPU = torch.device("cuda")
TINY = TrainingConfig(
    resolution=16, batch=8, channel_base=256, kimg=0.1, augment="bgcfnc", aug="fixed", p=0.5
)
LABELS = torch.eye(3)[torch.arange(24) % 3]


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Compute float32 in float32, as a CPU does."""
    known = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = known


def on(device: torch.device, **changes: object) -> TrainingState:
    config = derived(replace(TINY, cond=True, **changes), cuda=device.type == "cuda")  # type: ignore[arg-type]
    return TrainingState.fresh(config, device, labels=LABELS)


def batch(device: torch.device) -> tuple[Tensor, Tensor]:
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    return images.to(device), LABELS[:8].to(device)


@pytest.fixture
def watched() -> Iterator[None]:
    """Let everything fail that makes the host wait for the GPU."""
    try:
        torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("batch_gpu", [0, 4])
def test_no_step_waits_for_the_gpu(dtype: str, batch_gpu: int, request: pytest.FixtureRequest) -> None:
    state, (images, labels) = on(GPU, dtype=dtype, batch_gpu=batch_gpu), batch(GPU)
    state.step(images, labels)  # constants are made once
    request.getfixturevalue("watched")
    for _ in range(16):  # every regulariser among them
        state.step(images, labels)


def measured(device: torch.device) -> dict[str, Tensor]:
    """Images, logits, R1, path lengths, and the gradients of a loss of all of them."""
    g, d = generator().to(device), discriminator().to(device)
    z = torch.randn(4, 512, generator=torch.Generator().manual_seed(0)).to(device)
    w_NLD = g.mapping(z)
    images = g.synthesis(w_NLD, noise="const")
    logits = d(images)
    real = images_like(d).to(device).requires_grad_()
    lengths = loss.path_lengths(images, w_NLD, torch.ones_like(images))
    r1 = loss.r1_penalty(real, d(real))
    (loss.generator_loss(logits) + lengths.square().mean() + r1.mean()).backward()
    gradients = {
        name: p.grad for name, p in (*g.named_parameters(), *d.named_parameters()) if p.grad is not None
    }
    return {"images": images, "logits": logits, "r1": r1, "lengths": lengths, **gradients}


def test_networks_and_their_derivatives_are_those_of_a_cpu() -> None:
    torch.manual_seed(0)
    expected = measured(torch.device("cpu"))
    torch.manual_seed(0)
    for name, value in measured(GPU).items():
        assert distance(value.cpu(), expected[name].detach()) < 1e-3, name


@pytest.mark.parametrize(
    "name", [name for name in SETS if "n" not in name]
)  # a noise field is the device's own
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentations_and_their_derivatives_are_those_of_a_cpu(name: str, channels: int) -> None:
    images = torch.randn(6, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for device in (torch.device("cpu"), GPU):
        draws = RandomDraws(count=6, rng=torch.Generator().manual_seed(1))
        given = images.to(device).requires_grad_()
        out = augment(given, SETS[name], 0.8, draws)
        (gradient,) = torch.autograd.grad(out.square().sum(), given)
        found.append((out.cpu(), gradient.cpu()))
    for theirs, ours in zip(*found, strict=True):
        assert distance(ours, theirs.detach()) < 1e-4


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_gives_the_losses_of_float32(dtype: str) -> None:
    rows = []
    for each in ("fp32", dtype):
        state, (images, labels) = on(GPU, dtype=each), batch(GPU)
        state.step(images, labels)
        rows.append(state.tick())
    exact, low = rows
    for name in exact.keys() - {"real_sign"}:  # of logits about 0
        assert low[name] == pytest.approx(exact[name], rel=0.05, abs=0.02), name


def test_a_step_whose_gradients_are_no_numbers_is_skipped() -> None:
    state, (images, labels) = on(GPU, dtype="fp16"), batch(GPU)
    state.step(images, labels)
    before = [parameter.clone() for parameter in state.d.parameters()]
    state.d_main(images * float("nan"), labels, Chance(0, 1, GPU))
    assert all(map(torch.equal, before, state.d.parameters()))
    assert state.sums[SKIPPED + "Dmain"][-1].item() == 1
    state.d_main(images, labels, Chance(0, 1, GPU))
    assert not all(map(torch.equal, before, state.d.parameters()))


def test_accumulated_parts_give_the_step_of_the_whole_batch() -> None:
    whole, parts = on(GPU, dtype="fp32"), on(GPU, dtype="fp32", batch_gpu=4)
    for state in (whole, parts):
        state.d_main(*batch(GPU), Chance(0, 0, GPU))
    for ours, theirs in zip(parts.d.parameters(), whole.d.parameters(), strict=True):
        if ours.grad is not None:
            assert distance(ours.grad, theirs.grad.detach()) < 1e-3  # type: ignore[union-attr]


def test_a_checkpoint_goes_on_as_the_state_it_holds(tmp_path: Path) -> None:
    state, loaded = on(GPU, dtype="fp32"), on(GPU, dtype="fp32")
    state.step(*batch(GPU))
    checkpoint.write(tmp_path, "a" * 64, state.images, state.state_dict())
    loaded.load_state_dict(copy.deepcopy(checkpoint.read_latest(tmp_path, "a" * 64, GPU) or {}))
    for each in (state, loaded):
        each.step(*batch(GPU))
    for ours, theirs in zip(loaded.g.parameters(), state.g.parameters(), strict=True):
        assert distance(ours, theirs.detach()) < 1e-3


def test_a_run_on_a_gpu_goes_on_and_ends(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip")
    config = TrainingConfig(resolution=16, batch=8, channel_base=256, kimg=0.032, tick_kimg=0.016)
    for kimg in (0.032, 0.064):
        done = train(replace(config, kimg=kimg), tmp_path / "a.zip", None, tmp_path / "run", device="cuda")
        assert done.config.dtype == "fp16" and done.kimg == kimg
    assert [row["kimg"] for row in done.history] == [0.016, 0.032, 0.048, 0.064]
    assert all(math.isfinite(value) for row in done.history for value in row.values())
