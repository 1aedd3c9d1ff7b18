"""What is asked of weights while they train: each constraint alone, on a net of two layers."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from build_tools.coding.adaptive import encode_adaptive
from build_tools.errors import PassError
from build_tools.training.constraints import (
    CodebookDuring,
    During,
    EntropyDuring,
    LowRankDuring,
    PruneDuring,
    QuantizeDuring,
)
from build_tools.training.during import Constraints
from build_tools.training.entropy_penalty import chances_of_some, coded_bits, level_costs
from build_tools.training.gradual import GradualPruning
from build_tools.training.shared_values import clusters
from build_tools.training.step_size import StepSize
from build_tools.training.straight_through import as_half, instead

HIDDEN = [[("first", 0), ("bias", 0), ("second", 1)]]
STEPS = 240


def two_layers(seed: int = 1) -> dict[str, nn.Parameter]:
    torch.manual_seed(seed)
    return {
        "first": nn.Parameter(torch.randn(32, 16) / 4),
        "bias": nn.Parameter(torch.randn(32) / 10),
        "second": nn.Parameter(torch.randn(4, 32) / 6),
    }


def sectors(count: int = 512) -> tuple[Tensor, Tensor]:
    """Points labelled by the signs of their first two coordinates' product and of their third."""
    x = torch.randn(count, 16, generator=torch.Generator().manual_seed(2))
    return x, (x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] > 0).long()


def forward(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    return torch.relu(x @ weights["first"].T + weights["bias"]) @ weights["second"].T


def train(constraints: Constraints, weights: dict[str, nn.Parameter], steps: int = STEPS) -> float:
    """Share of points that are read rightly at the end."""
    x, labels = sectors()
    optimiser = torch.optim.Adam([*weights.values(), *constraints.extra_parameters()], 1e-2)
    for step in range(steps):
        loss = functional.cross_entropy(forward(x, constraints.effective(step)), labels) + constraints.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        constraints.after_step(step)
    settled = {name: torch.from_numpy(values) for name, (values, _) in constraints.settle().items()}
    return float((forward(x, settled).argmax(1) == labels).float().mean())


def rounded_at(weight: Tensor, bits: int, step: Tensor) -> Tensor:
    """The weight on levels of one step, straight from the definition."""
    highest = 2 ** (bits - 1) - 1
    return (weight / step).round().clamp(-highest, highest) * step


def on_grid(during: During, groups: list[list[tuple[str, int]]] | None = None) -> tuple[Constraints, dict, float]:
    weights = two_layers()
    constraints = Constraints(weights, during, STEPS, groups)
    right = train(constraints, weights)
    settled = constraints.settle()
    last = constraints.effective(STEPS)
    for name, (values, _) in settled.items():
        assert np.array_equal(values, last[name].detach().numpy()), f"{name} is not what was computed with"
    return constraints, settled, right


def test_sparsity_follows_the_cubic_schedule_and_meets_its_target() -> None:
    weights = {"w": nn.Parameter(torch.randn(100, 100, generator=torch.Generator().manual_seed(1)))}
    pruning = GradualPruning(weights, PruneDuring(target=0.9, begin=0.1, end=0.6), 1000)
    seen = {}
    for step in range(1000):
        pruning.update(step)
        seen[step] = float((pruning.masked("w", weights["w"]) == 0).float().mean())
    assert seen[50] == 0
    assert seen[350] == pytest.approx(0.9 * (1 - 0.5**3), abs=0.01)
    assert seen[600] == seen[999] == pytest.approx(0.9, abs=1e-6)
    assert all(seen[a] <= seen[a + 1] for a in range(999))


def test_weights_keep_their_targets_by_name() -> None:
    during = During(prune=PruneDuring(target=0.5, layers={"second": 0.75}))
    _, settled, right = on_grid(during)
    assert (settled["first"][0] == 0).mean() == 0.5
    assert (settled["second"][0] == 0).mean() == 0.75
    assert (settled["bias"][0] != 0).all()
    assert right > 0.9


def test_a_pruned_weight_comes_back_where_others_become_smaller_before_the_end_and_learns_nothing_meanwhile() -> None:
    weights = {"w": nn.Parameter(torch.tensor([[0.1, 1.0, 2.0, 3.0]]))}
    pruning = GradualPruning(weights, PruneDuring(target=0.25, begin=0.0, end=0.5), 10)
    for step in range(4):
        pruning.update(step)
    masked = pruning.masked("w", weights["w"])
    assert masked.tolist() == [[0.0, 1.0, 2.0, 3.0]]
    masked.sum().backward()
    assert weights["w"].grad is not None
    assert weights["w"].grad.tolist() == [[0.0, 1.0, 1.0, 1.0]]
    weights["w"].data[0, 1] = 0.05
    pruning.update(5)
    masked = pruning.masked("w", weights["w"])
    assert masked.tolist() == [[pytest.approx(0.1), 0.0, 2.0, 3.0]]
    weights["w"].data[0, 1] = 5.0
    pruning.update(6)
    assert pruning.masked("w", weights["w"])[0, 1] == 0
    weights["w"].grad = None
    masked.sum().backward()
    assert weights["w"].grad is not None
    assert weights["w"].grad.tolist() == [[1.0, 0.0, 1.0, 1.0]]


def test_channels_go_with_all_that_belongs_to_them_and_an_aligned_number_stays() -> None:
    during = During(prune=PruneDuring(target=0.6, structure="channels", align=8))
    _, settled, right = on_grid(during, HIDDEN)
    dead = (settled["first"][0] == 0).all(1)
    assert dead.sum() == 16  # 12.8 would stay: 16 is the next multiple of 8
    assert (settled["bias"][0][dead] == 0).all()
    assert (settled["second"][0][:, dead] == 0).all()
    assert (settled["second"][0][:, ~dead] != 0).all()
    assert right > 0.85


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("step", ["lsq", "max"])
def test_quantised_weights_settle_on_their_grid_bit_for_bit(bits: int, per_channel: bool, step: str) -> None:
    rule = QuantizeDuring(bits=bits, per_channel=per_channel, step=step, bias_bits=8)  # type: ignore[arg-type]
    _, settled, right = on_grid(During(quantize=rule))
    for name in ("first", "second", "bias"):
        values, grid = settled[name]
        assert grid is not None
        assert np.array_equal(grid.table, grid.table.astype(np.float16).astype(np.float32))
        shape = [-1, 1] if values.ndim > 1 and per_channel else [1] * values.ndim
        scales = grid.table.reshape(shape)
        levels = np.round(values / scales).astype(np.int32)
        assert np.array_equal(values, levels.astype(np.float32) * scales)
        assert np.abs(levels).max() <= 2 ** (grid.bits - 1) - 1
        assert grid.axis == (0 if values.ndim > 1 and per_channel else None)
    assert right > (0.7 if bits > 2 else 0.4)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_step_learns_to_round_with_a_smaller_error_than_the_largest_weight_s_step(bits: int) -> None:
    weight = torch.randn(4, 500, generator=torch.Generator().manual_seed(1))
    learned, largest = StepSize(weight, bits, "lsq", 0), StepSize(weight, bits, "max", 0)
    optimiser = torch.optim.Adam(learned.parameters(), 1e-2)
    for _ in range(200):
        loss = (learned(weight)[0] - weight).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    best = min(float((rounded_at(weight, bits, step) - weight).pow(2).mean()) for step in torch.linspace(0.1, 2, 100))
    assert float(loss) < 0.7 * float((largest(weight)[0] - weight).pow(2).mean())
    assert float(loss) < 1.05 * best


def test_binary_weights_are_a_sign_times_the_channel_s_mean_size() -> None:
    _, settled, right = on_grid(During(quantize=QuantizeDuring(bits=1)))
    values, grid = settled["first"]
    assert grid is not None
    assert grid.bits == 1
    assert np.array_equal(np.abs(values), np.broadcast_to(grid.table[:, None], values.shape))
    assert settled["bias"][1] is None
    assert right > 0.5


@pytest.mark.parametrize(
    "during",
    [
        During(prune=PruneDuring(target=0.5, end=0.3), codebook=CodebookDuring(bits=3, begin=0.4)),
        During(quantize=QuantizeDuring(bits=3, per_channel=False), entropy=EntropyDuring(bytes=100)),
    ],
)
def test_a_training_that_was_cut_goes_on_from_its_state_to_the_same_bits(during: During) -> None:
    def run(weights: dict[str, nn.Parameter], constraints: Constraints, start: int, stop: int) -> None:
        x, labels = sectors(128)
        learned = [*weights.values(), *constraints.extra_parameters()]
        for step in range(start, stop):
            loss = functional.cross_entropy(forward(x, constraints.effective(step)), labels) + constraints.penalty()
            gradients = torch.autograd.grad(loss, learned, allow_unused=True)
            with torch.no_grad():
                for parameter, gradient in zip(learned, gradients, strict=True):
                    parameter -= 0.1 * gradient if gradient is not None else 0.0

    whole = two_layers()
    whole_constraints = Constraints(whole, during, 60)
    run(whole, whole_constraints, 0, 60)
    first = two_layers()
    first_constraints = Constraints(first, during, 60)
    run(first, first_constraints, 0, 35)
    second = {name: nn.Parameter(weight.detach().clone()) for name, weight in first.items()}
    second_constraints = Constraints(second, during, 60)
    second_constraints.load_state_dict(copy.deepcopy(first_constraints.state_dict()))
    for mine, its in zip(second_constraints.extra_parameters(), first_constraints.extra_parameters(), strict=True):
        mine.data.copy_(its.data)
    run(second, second_constraints, 35, 60)
    for name, (values, _) in whole_constraints.settle().items():
        assert np.array_equal(values, second_constraints.settle()[name][0])


def test_quantisation_begins_when_it_is_asked_to() -> None:
    weights = two_layers()
    constraints = Constraints(weights, During(quantize=QuantizeDuring(bits=2, begin=0.5)), 100)
    assert torch.equal(constraints.effective(49)["first"], weights["first"])
    assert len(torch.unique(constraints.effective(50)["first"][0])) <= 3


def test_values_of_a_codebook_are_trained_while_their_places_stay() -> None:
    weights = two_layers()
    during = During(prune=PruneDuring(target=0.5, end=0.4), codebook=CodebookDuring(bits=3, begin=0.5))
    constraints = Constraints(weights, during, STEPS)
    x, labels = sectors()
    optimiser = torch.optim.Adam([*weights.values(), *constraints.extra_parameters()], 1e-2)
    begun = {}
    for step in range(STEPS):
        effective = constraints.effective(step)
        if step == STEPS // 2:
            begun = {name: value.detach().clone() for name, value in effective.items()}
        loss = functional.cross_entropy(forward(x, effective), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name in ("first", "second"):
        values, grid = constraints.settle()[name]
        assert grid is not None
        assert grid.kind == "codebook"
        assert grid.table.shape == (8,)
        first, last = begun[name].numpy().ravel(), values.ravel()
        assert len(np.unique(last)) <= 8
        assert (last == 0).mean() == 0.5
        assert np.array_equal(first == 0, last == 0)
        moved = {float(a): set(last[first == a]) for a in np.unique(first)}
        assert all(len(became) == 1 for became in moved.values())
        assert any(became != {was} for was, became in moved.items())


def test_the_entropy_penalty_makes_levels_smaller_when_really_coded() -> None:
    def coded(during: During) -> tuple[int, float]:
        _, settled, right = on_grid(during)
        size = 0
        for name in ("first", "second"):
            values, grid = settled[name]
            assert grid is not None
            size += len(encode_adaptive(np.round(values / grid.table[0]).astype(np.int16)))
        return size, right

    plain = During(quantize=QuantizeDuring(bits=4, per_channel=False))
    free, right_free = coded(plain)
    weighed, right = coded(replace(plain, entropy=EntropyDuring(weight=300)))
    assert weighed < 0.7 * free
    assert right > right_free - 0.1


def test_the_weight_of_a_bit_is_found_for_the_bytes_that_are_aimed_at() -> None:
    rule = During(quantize=QuantizeDuring(bits=4, per_channel=False), entropy=EntropyDuring(bytes=110, end=0.5))
    weights = two_layers()
    constraints = Constraints(weights, rule, 500)
    train(constraints, weights, 500)
    bits = 0.0
    for name in ("first", "second"):
        values, grid = constraints.settle()[name]
        assert grid is not None
        levels = np.round(values / grid.table[0])
        shares = np.unique(levels, return_counts=True)[1] / levels.size
        bits += float(-(shares * np.log2(shares)).sum() * levels.size)
    assert 55 < bits / 8 < 125


def test_the_nuclear_norm_and_truncation_lower_the_rank() -> None:
    truncated = on_grid(During(lowrank=LowRankDuring(energy=0.8)))[1]["first"][0]
    pulled = on_grid(During(lowrank=LowRankDuring(weight=0.02)))[1]["first"][0]
    plain = on_grid(During())[1]["first"][0]
    assert np.linalg.matrix_rank(plain) == 16
    assert np.linalg.matrix_rank(truncated, tol=1e-4) <= 8
    assert np.linalg.matrix_rank(pulled, tol=0.1) < np.linalg.matrix_rank(plain, tol=0.1)


def test_activations_are_put_on_levels_from_zero_where_nothing_is_negative() -> None:
    constraints = Constraints(
        two_layers(), During(quantize=QuantizeDuring(bits=8, activation_bits=4)), 10, activations=["on"]
    )
    values = torch.relu(torch.randn(1000, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(constraints.activation("on", values), values)  # not begun: `effective` was never called
    constraints.effective(0)
    step, low, high = 0.0, 0, 0
    few = constraints.activation("on", values)
    ((step, low, high),) = constraints.activation_ranges().values()
    assert (low, high) == (0, 15)
    levels = few / step
    assert torch.equal(levels, levels.round())
    assert float(levels.max()) == 15
    assert float((few - values).abs().median()) < step


@pytest.mark.parametrize(
    ("during", "message"),
    [
        (During(prune=PruneDuring(layers={"frist": 0.5})), "frist is no weight of the model; it has first, bias"),
        (During(prune=PruneDuring(target=0.5), codebook=CodebookDuring(bits=4)), "begins when pruning has ended"),
        (During(entropy=EntropyDuring(weight=1)), "set during.quantize.bits to 2 or more"),
        (During(quantize=QuantizeDuring(activation_bits=1)), "take 2 or more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(during: During, message: str) -> None:
    with pytest.raises(PassError, match=message):
        Constraints(two_layers(), during, 100)


floats = st.floats(-100, 100, width=32)


@given(st.lists(floats, min_size=1, max_size=20), st.lists(floats, min_size=20, max_size=20))
@settings(max_examples=50, deadline=None)
def test_what_goes_forward_is_exact_and_the_gradient_goes_to_the_other(shown: list[float], meant: list[float]) -> None:
    a = torch.tensor(shown)
    b = torch.tensor(meant[: len(shown)], requires_grad=True)
    given_forward = instead(a, b)
    assert torch.equal(given_forward, a)
    (given_forward * 3).sum().backward()
    assert b.grad is not None
    assert (b.grad == 3).all()
    assert torch.equal(as_half(a), a.half().float())


@given(st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_levels_cost_what_their_frequencies_say(bits: int, seed: int) -> None:
    highest = 2 ** (bits - 1) - 1
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(-highest, highest + 1, (400,), generator=generator).float()
    costs = level_costs(levels, highest)
    assert coded_bits(levels, highest)[1] == pytest.approx(float(costs[(levels + highest).long()].sum()), rel=0.02)
    assert float((2**-costs).sum()) <= 1 + 1e-5  # no code is shorter (Kraft)


def test_levels_far_from_zero_are_dear_even_where_most_weights_are() -> None:
    levels = torch.tensor([7.0, -7.0] * 500 + [0.0] * 300 + [1.0, -1.0] * 50)
    costs = level_costs(levels, 7)
    assert (costs[7:].diff() >= 0.24).all()
    assert torch.equal(costs, costs.flip(0))
    position = (levels * 0.99).requires_grad_()
    coded_bits(position, 7)[0].backward()
    assert position.grad is not None
    assert (position.grad[:1000] * levels[:1000] > 0).all()


def test_the_cost_falls_in_a_straight_line_from_a_dear_level_to_a_cheap_one() -> None:
    others = torch.zeros(20, 20)
    others[::4, ::4] = 1.0
    at = torch.linspace(0, 1, 5)
    bits = []
    for value in at:
        position = others.clone()
        position[1, 1] = value
        position.requires_grad_()
        cost, _ = coded_bits(position, 3)
        bits.append(float(cost.detach()))
        cost.backward()
    assert bits[0] < bits[1] < bits[2]
    assert bits[1] - bits[0] == pytest.approx(bits[2] - bits[1], rel=0.05)
    assert position.grad is not None
    assert float(position.grad[0, 0]) > 0


def test_what_is_paid_is_what_rounded_levels_cost() -> None:
    levels = torch.zeros(40, 40)
    levels[::5, ::5] = 2.0
    little = torch.rand(40, 40, generator=torch.Generator().manual_seed(1)) * 0.4
    soft, paid = coded_bits(levels + little, 3)
    exact, rounded = coded_bits(levels, 3)
    assert paid == pytest.approx(rounded, rel=1e-5) == pytest.approx(float(exact), rel=1e-5)
    assert float(soft) > 2 * paid


def test_a_lone_level_in_an_empty_row_is_dearer_than_one_among_others() -> None:
    levels = torch.zeros(10, 50)
    levels[:5, ::2] = 1.0
    alone, among = levels.clone(), levels.clone()
    alone[7, 1] = 1.0
    among[2, 1] = 1.0
    assert coded_bits(alone, 3)[1] > coded_bits(among, 3)[1] + 1
    chances = chances_of_some(levels)
    assert float(chances[0].mean()) > 0.35
    assert float(chances[7].max()) < 0.1
    assert float(chances[0, 0]) > float(chances[0, 1])


@given(st.integers(0, 1000), st.floats(0.02, 0.9))
@settings(max_examples=15, deadline=None)
def test_the_estimate_is_near_what_the_adaptive_coder_really_pays(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    busy = rng.random((16, 1, 1, 1)) * rng.random((1, 8, 1, 1)) ** 2
    levels = rng.integers(-3, 4, (16, 8, 5, 5)) * (rng.random((16, 8, 5, 5)) < share * 4 * busy)
    paid = len(encode_adaptive(levels.astype(np.int16)))
    told = coded_bits(torch.from_numpy(levels).float(), 7)[1] / 8
    assert told == pytest.approx(paid, rel=0.12, abs=16)


def test_weights_beyond_the_highest_level_are_brought_back_so_that_gradients_reach_them() -> None:
    weights = {"w": nn.Parameter(torch.tensor([[0.1, -0.1, 0.1, 9.0]]))}
    constraints = Constraints(weights, During(quantize=QuantizeDuring(bits=3, per_channel=False)), 10)
    before = constraints.effective(0)["w"]
    constraints.after_step(0)
    after = constraints.effective(1)["w"]
    assert torch.equal(before, after)
    assert float(weights["w"].detach().abs().max()) == float(after.detach().abs().max())
    after.sum().backward()
    assert weights["w"].grad is not None
    assert weights["w"].grad.tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_steps_start_where_the_paper_starts_them() -> None:
    weight = torch.randn(8, 50, generator=torch.Generator().manual_seed(1))
    stepper = StepSize(weight, 4, "lsq", axis=0)
    expected = 2 * weight.abs().mean(1) / 7**0.5
    assert torch.allclose(stepper.step(weight), expected, rtol=1e-3)


@given(st.lists(floats, min_size=1, max_size=60), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_clusters_are_the_means_of_what_is_nearest_to_them(values: list[float], count: int) -> None:
    array = np.array(values, np.float64)
    centres = clusters(array, count)
    assert len(centres) <= max(count, 1)
    assert np.all(np.diff(centres) >= 0)
    error = np.abs(array[:, None] - centres[None]).min(1)
    spread = np.abs(array[:, None] - np.linspace(array.min(), array.max(), count)[None]).min(1)
    assert (error**2).sum() <= (spread**2).sum() + 1e-6
