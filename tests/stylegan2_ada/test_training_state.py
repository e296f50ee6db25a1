import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stylegan2_ada import TrainingConfig, checkpoint, derived, loss
from stylegan2_ada.augment import SETS, RandomDraws, augment
from stylegan2_ada.chance import Chance
from stylegan2_ada.distributed import Ranks, cut, own_rows
from stylegan2_ada.networks import SynthesisLayer
from stylegan2_ada.training_state import TrainingState, architecture_of

TINY = derived(TrainingConfig(resolution=8, batch=4, channel_base=64, kimg=0.1, augment="bgc"))
CPU = torch.device("cpu")


def reals(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


# The second step's losses see what the optimisers of the first one did.
PINNED: dict[str, float] = {
    "kimg": 0.004,
    "augment_p": 0.5,
    "d_loss": 1.342984,
    "g_loss": 0.706169,
    "path_length": 0.839866,
    "r1": 0.018685,
    "real_sign": -0.25,
    "next_g_loss": 0.686823,
    "next_d_loss": 1.370059,
}


def measured_steps() -> dict[str, float]:
    state = TrainingState.fresh(TINY, CPU)
    state.controller.p = 0.5
    rows = []
    for seed in (0, 1):
        state.step(reals(seed))
        rows.append(state.tick())
    names = ("g_loss", "d_loss")
    return rows[0] | {f"next_{name}": rows[1][name] for name in names}


def test_one_step_is_pinned() -> None:
    measured = measured_steps()
    for name, value in PINNED.items():
        assert measured[name] == pytest.approx(value, rel=1e-3), (
            f"{name} of one training step was {value}, is {measured[name]}: if the change of the algorithm is"
            f" meant, say so in its commit and pin {measured}"
        )


def test_a_step_depends_on_seed_and_images_seen_alone() -> None:
    first, second = TrainingState.fresh(TINY, CPU), TrainingState.fresh(TINY, CPU)
    torch.manual_seed(123)  # nothing may draw from the global generator
    first.step(reals())
    torch.manual_seed(321)
    second.step(reals())
    for a, b in zip(first.g.parameters(), second.g.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loaded_state_goes_on_as_the_saved_one() -> None:
    state, loaded = TrainingState.fresh(TINY, CPU), TrainingState.fresh(TINY, CPU)
    state.step(reals())
    state.tick()
    loaded.load_state_dict(copy.deepcopy(state.state_dict()))
    for each in (state, loaded):
        each.step(reals(1))
        each.tick()
    assert loaded.history == state.history
    assert all(map(torch.equal, loaded.d.state_dict().values(), state.d.state_dict().values()))


@pytest.mark.parametrize("steps", [5, 6, 7])
def test_p_goes_on_from_a_checkpoint_between_two_of_its_moves(tmp_path: Path, steps: int) -> None:
    """With its p and the signs since: without them, a discriminator that is sure of all would seem unsure."""
    config = replace(TINY, ada_kimg=0.1, ada_target=0.9)
    state, loaded = TrainingState.fresh(config, CPU), TrainingState.fresh(config, CPU)
    with torch.no_grad():
        state.d.b4.out.bias += 10
    for number in range(steps):
        state.step(reals(number))
    checkpoint.write(tmp_path, "a" * 64, state.images, state.state_dict())
    loaded.load_state_dict(checkpoint.read_latest(tmp_path, "a" * 64, CPU) or {})
    assert vars(loaded.controller) == vars(state.controller)
    assert loaded.p == pytest.approx(0.16)
    assert (loaded.signs.item(), loaded.sign_phases) == (state.signs.item(), state.sign_phases)
    for number in range(steps, 8):
        state.step(reals(number))
        loaded.step(reals(number))
    assert loaded.p == state.p == pytest.approx(0.32)


def test_rates_and_memories_of_the_optimisers_make_up_for_the_steps_of_regularisation() -> None:
    """Appendix B; the numbers are the published code's, for a regulariser at every 4th and 16th step."""
    state = TrainingState.fresh(TINY, CPU)
    expected = {state.g_optimiser: (0.002, 0.991991968), state.d_optimiser: (0.002352941, 0.990585457)}
    for optimiser, (rate, memory) in expected.items():
        (group,) = optimiser.param_groups
        assert group["lr"] == pytest.approx(rate) and group["eps"] == 1e-8
        assert group["betas"] == pytest.approx((0, memory), abs=1e-8)


def test_regularisers_run_at_their_intervals() -> None:
    state = TrainingState.fresh(TINY, CPU)
    for _ in range(17):
        state.step(reals())
    assert len(state.sums["g_loss"]) == len(state.sums["d_loss"]) == 17
    assert len(state.sums["path_length"]) == 5
    assert len(state.sums["r1"]) == 2


def test_the_running_mean_follows_at_its_half_life() -> None:
    state = TrainingState.fresh(TINY, CPU)
    state.images = 10**9  # past the ramp
    before, now = (p.detach().clone() for p in (state.g_ema.synthesis.b4.const, state.g.synthesis.b4.const))
    with torch.no_grad():
        state.g.synthesis.b4.const += 1
    state.average()
    weight = 1 - 0.5 ** (4 / (TINY.ema_kimg * 1000))
    expected = before.lerp(now + 1, weight)
    assert torch.allclose(state.g_ema.synthesis.b4.const, expected)


def test_after_the_first_step_the_running_mean_is_the_generator() -> None:
    state = TrainingState.fresh(TINY, CPU)
    state.step(reals())
    assert all(map(torch.equal, state.g_ema.parameters(), state.g.parameters()))


def test_the_half_life_is_a_share_of_the_images_seen_before_the_step() -> None:
    state = TrainingState.fresh(TINY, CPU)
    state.images = 400
    before = state.g_ema.synthesis.b4.const.clone()
    with torch.no_grad():
        state.g.synthesis.b4.const += 1
    state.step(reals())
    expected = before.lerp(state.g.synthesis.b4.const, 1 - 0.5 ** (4 / (0.05 * 400)))
    assert torch.allclose(state.g_ema.synthesis.b4.const, expected, atol=1e-6)


def test_the_mean_style_is_copied_where_weights_are_averaged() -> None:
    state = TrainingState.fresh(TINY, CPU)
    state.images = 10**9
    state.step(reals())
    assert torch.equal(state.g_ema.mapping.w_avg, state.g.mapping.w_avg)
    assert state.g_ema.mapping.w_avg.any()


def test_mixing_happens_as_often_as_asked() -> None:
    cutoffs = [Chance(0, images, CPU).phase("Gmain").cutoff(6, 0.9) for images in range(2000)]
    assert set(cutoffs) == {1, 2, 3, 4, 5, 6}
    assert cutoffs.count(6) / 2000 == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("of", ["g", "d"])
def test_a_weight_that_is_not_a_number_is_noticed(of: str, value: float) -> None:
    state = TrainingState.fresh(TINY, CPU)
    assert state.is_finite()
    with torch.no_grad():
        next(getattr(state, of).parameters()).view(-1)[-1] = value
    assert not state.is_finite()


BATCH = derived(
    TrainingConfig(
        resolution=8, batch=8, group=2, channel_base=64, channels=3, augment="bgcfnc", aug="fixed", p=0.7
    )
)
LABELS = torch.eye(3)[[0, 1, 1, 2, 2, 2]]


def drawn_batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    return torch.randn(8, 3, 8, 8, generator=rng).clamp(-1, 1), LABELS[[0, 1, 3, 3, 0, 1, 1, 0]]


def gradients(state: TrainingState, phase: str) -> dict[str, torch.Tensor]:
    """Run one phase; return the gradients that its optimiser saw, and the values that go on."""
    reals, labels = drawn_batch()
    chance = Chance(0, 0, CPU)
    match phase:
        case "Gmain":
            state.g_main(chance)
        case "Greg":
            state.g_reg(chance)
        case "Dmain":
            state.d_main(reals, labels, chance)
        case _:
            state.d_reg(reals, labels, chance)
    network = state.g if phase.startswith("G") else state.d
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    numbers = {name: values[0] for name, values in state.sums.items()}
    return found | numbers | {"w_avg": state.g.mapping.w_avg, "path": state.path_mean, "signs": state.signs}


@pytest.mark.parametrize("batch_gpu", [2, 4, 6])
@pytest.mark.parametrize("phase", ["Gmain", "Greg", "Dmain", "Dreg"])
def test_a_phase_is_the_same_however_the_batch_is_cut(phase: str, batch_gpu: int) -> None:
    whole, parted = (
        gradients(TrainingState.fresh(replace(BATCH, batch_gpu=size), CPU, labels=LABELS), phase)
        for size in (0, batch_gpu)
    )
    assert whole.keys() == parted.keys()
    # Their gradient is one sum over all pixels, which may cancel to next to nothing but rounding.
    strengths = [float(value.abs()) for name, value in whole.items() if name.endswith("noise_strength")]
    for name, value in whole.items():
        slack = 1e-5 * max(strengths) if name.endswith("noise_strength") else 1e-6 * float(value.abs().max())
        assert torch.allclose(value, parted[name], rtol=1e-4, atol=slack + 1e-9), name


@pytest.mark.parametrize("group", [1, 2, 4])
def test_real_and_generated_images_are_judged_apart_though_in_one_pass(group: int) -> None:
    """A second formulation, a pass for each set: minibatch deviation must not compare one with the other."""
    state = TrainingState.fresh(replace(BATCH, group=group), CPU, labels=LABELS)
    images, labels = drawn_batch()
    drawn = Chance(0, 0, CPU).phase("Dmain")
    (part,) = state.parts
    latents = drawn.latents(8, state.g.styles, 0.9, LABELS)
    with torch.no_grad():
        w, other = (state.g.mapping(z, latents.labels) for z in (latents.z, latents.other))
        w = torch.cat([w[:, : latents.cutoff], other[:, latents.cutoff :]], dim=1)
        fakes = state.g.synthesis(w, rng=drawn.noise(8, part))
    judged = []
    for stream, (shown, told) in enumerate(((fakes, latents.labels), (images, labels))):
        draws = RandomDraws(count=8, rng=drawn.augment_rng(stream))
        judged.append(state.d(augment(shown, SETS[BATCH.augment], state.p, draws), told))
    named = dict(state.d.named_parameters())
    expected = torch.autograd.grad(loss.discriminator_loss(*judged), list(named.values()))
    found = gradients(state, "Dmain")
    for name, gradient in zip(named, expected, strict=True):
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max())), name
    assert found["signs"].item() == pytest.approx(judged[1].sign().mean().item())


def test_parts_hold_whole_groups_in_their_order() -> None:
    for ranks, most in ((1, 6), (2, 0), (3, 4)):
        columns = set()
        own_all = []
        for rank in range(ranks):
            mine = Ranks(rank=rank, count=ranks)
            own = own_rows(24, 3, mine)
            own_all.extend(own)
            for part in cut(24, 3, mine, most, CPU):
                assert len(part.rows) <= (most or 24)
                assert (own[part.own.numpy()] == part.rows.numpy()).all()
                groups = part.rows.reshape(3, -1).T.tolist()  # as minibatch deviation forms them
                columns |= {tuple(group) for group in groups}
        assert columns == {(i, i + 8, i + 16) for i in range(8)}
        assert sorted(own_all) == list(range(24))


def test_path_length_regularisation_is_its_formula() -> None:
    """A second formulation, with the gradient through the moved mean left to autograd."""
    state = TrainingState.fresh(BATCH, CPU, labels=LABELS)
    state.path_mean = torch.tensor(0.3)
    drawn = Chance(0, 0, CPU).phase("Greg")
    latents = drawn.latents(4, state.g.styles, 0.9, LABELS)
    w = state.g.mapping(latents.z, latents.labels)
    other = state.g.mapping(latents.other, latents.labels)
    w = torch.cat([w[:, : latents.cutoff], other[:, latents.cutoff :]], dim=1)
    (part,) = state.path_parts
    images = state.g.synthesis(w, rng=drawn.noise(4, part))
    lengths = loss.path_lengths(images, w, drawn.direction(4, part)(images.shape))
    penalty = (lengths - torch.tensor(0.3).lerp(lengths.mean(), 0.01)).square().mean() * 2 * 4
    named = dict(state.g.named_parameters())
    expected = torch.autograd.grad(penalty, list(named.values()), allow_unused=True)
    found = gradients(state, "Greg")
    for name, gradient in zip(named, expected, strict=True):
        if gradient is None:
            assert name not in found
        else:
            assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-7), name
    mean = lengths.mean().item()
    assert found["path"].item() == pytest.approx(0.3 + 0.01 * (mean - 0.3), rel=1e-5)
    assert found["path_length"].item() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(("phase", "count"), [("Gmain", 8), ("Greg", 4), ("Dmain", 8)])
def test_the_mean_style_follows_the_first_of_two_mixed_styles_in_each_phase_that_generates(
    phase: str, count: int
) -> None:
    state = TrainingState.fresh(BATCH, CPU, labels=LABELS)
    latents = Chance(0, 0, CPU).phase(phase).latents(count, state.g.styles, 0.9, LABELS)
    assert latents.cutoff < state.g.styles
    mean = state.g.mapping(latents.z, latents.labels)[:, 0].mean(dim=0).detach()
    assert torch.allclose(gradients(state, phase)["w_avg"], 0.005 * mean, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("phase", "value"), [("Gmain", "g_loss"), ("Greg", "path_length"), ("Dmain", "d_loss")]
)
def test_every_phase_that_generates_draws_its_noise(phase: str, value: str) -> None:
    """It takes neither none nor the constant one that images for the eye are made with."""

    def found(strength: float, constant: float) -> float:
        state = TrainingState.fresh(BATCH, CPU, labels=LABELS)
        for layer in state.g.synthesis.modules():
            if isinstance(layer, SynthesisLayer):
                layer.noise_strength.data.fill_(strength)
                layer.noise_const.fill_(constant)
        return gradients(state, phase)[value].item()

    assert found(1, 0) == found(1, 5) != found(0, 0)


def test_r1_makes_up_for_the_steps_between() -> None:
    """gamma / 2 times the mean squared gradient at the images before augmentation, 16 times as it is rare."""
    state = TrainingState.fresh(BATCH, CPU, labels=LABELS)
    images, labels = drawn_batch()
    images.requires_grad_(True)
    draws = RandomDraws(count=8, rng=Chance(0, 0, CPU).phase("Dreg").augment_rng(1))
    logits = state.d(augment(images, SETS["bgcfnc"], 0.7, draws), labels)
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    r1 = slope.square().sum(dim=(1, 2, 3)).mean()
    named = dict(state.d.named_parameters())
    expected = torch.autograd.grad(BATCH.gamma / 2 * r1 * 16, list(named.values()), allow_unused=True)
    found = gradients(state, "Dreg")
    for name, gradient in zip(named, expected, strict=True):
        wanted = torch.zeros_like(named[name]) if gradient is None else gradient
        slack = 1e-5 * float(wanted.abs().max())
        assert torch.allclose(found.get(name, torch.zeros(())), wanted, rtol=1e-4, atol=slack), name
    assert found["r1"].item() == pytest.approx(r1.item(), rel=1e-5)


def test_generated_labels_are_as_frequent_as_those_of_the_data() -> None:
    drawn = Chance(0, 0, CPU).phase("Gmain").latents(6000, 4, 0.9, LABELS).labels
    assert drawn is not None
    assert np.allclose(drawn.mean(dim=0), [1 / 6, 2 / 6, 3 / 6], atol=0.03)


def test_p_moves_by_the_signs_of_both_phases_of_the_discriminator() -> None:
    state = TrainingState.fresh(replace(TINY, ada_kimg=0.1, ada_target=0.0), CPU)
    r1_steps = 0
    for number in range(4):
        state.d_main(reals(number), None, Chance(0, number, CPU))
        if number == 0:
            state.d_reg(reals(number), None, Chance(0, number, CPU))
            r1_steps += 1
    signs = state.sums["real_sign"]
    assert state.sign_phases == len(signs) == 4 + r1_steps
    assert state.signs.item() == pytest.approx(sum(sign.item() for sign in signs))
    expected = max(4 * 4 / 100 * np.sign(state.signs.item()), 0.0)
    state._adapt()
    assert state.p == pytest.approx(expected)
    assert state.sign_phases == 0 and state.signs.item() == 0


@pytest.mark.parametrize(("aug", "p"), [("fixed", 0.3), ("noaug", 0.0)])
def test_a_fixed_p_stays(aug: str, p: float) -> None:
    state = TrainingState.fresh(replace(TINY, aug=aug, p=p, ada_kimg=0.001), CPU)
    for _ in range(8):
        state.step(reals())
    assert state.p == p


def test_without_path_weight_no_path_is_measured() -> None:
    state = TrainingState.fresh(replace(TINY, path_weight=0.0), CPU)
    state.step(reals())
    assert "path_length" not in state.sums and "g_loss" in state.sums


def test_frozen_convolutions_stay_and_the_others_learn() -> None:
    state = TrainingState.fresh(replace(TINY, freeze_d=2), CPU)
    before = copy.deepcopy(state.d.state_dict())
    state.step(reals())
    changed = {name for name, value in state.d.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith(("b8.fromrgb", "b8.conv0"))]
    assert {"b8.conv1.weight", "b8.skip.weight", "b4.out.weight"} <= changed


@pytest.mark.parametrize("blocks", ["skip", "orig"])
def test_other_blocks_and_a_low_type_train(blocks: str) -> None:
    config = replace(TINY, g_blocks=blocks, d_blocks=blocks, dtype="bf16")
    state = TrainingState.fresh(config, CPU)
    state.g.low = state.d.low = torch.bfloat16  # also where this processor takes longer in it
    state.step(reals())
    assert state.is_finite()
    assert all(math.isfinite(value) for value in state.tick().values())


def test_four_resolutions_take_a_type_of_16_bits_and_that_of_little_range_is_clamped() -> None:
    found = {dtype: architecture_of(replace(TINY, dtype=dtype)) for dtype in ("fp32", "bf16", "fp16")}
    assert {dtype: a.clamp for dtype, a in found.items()} == {"fp32": None, "bf16": None, "fp16": 256}
    assert {dtype: a.low_blocks for dtype, a in found.items()} == {"fp32": 0, "bf16": 4, "fp16": 4}


def test_augmentations_of_a_part_are_those_of_the_whole() -> None:
    images, _ = drawn_batch()
    (whole,), (first, second) = (cut(8, 2, Ranks(), most, CPU) for most in (0, 4))
    drawn = Chance(0, 0, CPU).phase("Dmain")

    def done(part: object) -> torch.Tensor:
        rows = None if part.whole else part.rows_host  # type: ignore[attr-defined]
        draws = RandomDraws(count=8, rng=drawn.augment_rng(1), rows=rows)
        return augment(part.of(images), SETS["bgcfnc"], 0.7, draws)  # type: ignore[attr-defined]

    for part in (first, second):
        assert torch.allclose(done(part), done(whole)[part.rows], atol=1e-5)


def test_another_seed_has_other_weights_and_other_draws() -> None:
    one, other = (TrainingState.fresh(replace(TINY, seed=seed), CPU) for seed in (0, 1))
    assert not torch.equal(one.g.synthesis.b4.const, other.g.synthesis.b4.const)
    assert not torch.equal(one.d.b4.conv.weight, other.d.b4.conv.weight)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for state in (one, other):
        state.step(reals())
    assert one.tick()["g_loss"] != other.tick()["g_loss"]
