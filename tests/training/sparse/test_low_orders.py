"""Explicit functions of orders 1 and 2: their inner products are kernels, and support points stand for them."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.systems import SPARSE

from wk_potential import load, train
from wk_potential.atoms.dataset import Dataset
from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import in_blocks, kernel_rows
from wk_potential.training.limits import DEFAULT
from wk_potential.training.sparse import fit
from wk_potential.training.sparse.design import Design
from wk_potential.training.sparse.low_orders import LowOrders, choose_low_orders, count_low_orders, high_orders
from wk_potential.training.sparse.regression import SparseRegression
from wk_potential.training.sparse.selection import candidates
from wk_potential.training.task import make_task

FEW = replace(DEFAULT, sparse=replace(DEFAULT.sparse, explicit_from=1))


def kernels(order_weights, one, other, lmax):
    """Kernels (n, m) of environments with others, by Wigner iterations."""
    order, blocks = len(order_weights), in_blocks(other)
    rows = np.zeros((order, blocks.shape[0] * blocks.shape[2]))
    out = []
    for c in one:
        kernel_rows(wigner_terms(lmax, order), lmax, order, c, blocks, rows)
        out.append(order_weights @ rows[:, : len(other)])
    return np.array(out)


@pytest.fixture(scope="module")
def parts(sparse_parts):
    """Some environments of each element, all functions of orders 1 and 2, order weights."""
    environments = sparse_parts[0]
    n_elements = len(environments.data.elements)
    found = [environments.of_frame(k, derivatives=False).by_element(n_elements) for k in (0, 1, 2, 14, 15, 16)]
    pools = [np.concatenate(of_z) for of_z in zip(*found, strict=True)]
    weights = np.array([0.7, 0.2, 0.05, 0.01])
    low = choose_low_orders(pools, environments.density, weights, 10**6)
    assert isinstance(low, LowOrders)
    return low, pools, weights


def test_inner_products_are_kernels(parts):
    low, pools, weights = parts
    scales = np.split(low.scale(weights), np.cumsum(low.counts)[:-1])
    for z, pool in enumerate(pools):
        values = low.values(z, pool) * scales[z]
        expected = kernels(weights - high_orders(weights), pool, pool, low.lmax)
        assert values @ values.T == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_derivatives(parts):
    low, pools, _ = parts
    c, step = pools[0][0], 1e-5
    directions = np.random.default_rng(0).normal(size=(4, *c.shape)) * (c != 0)
    expected = [
        (low.values(0, (c + step * d)[None]) - low.values(0, (c - step * d)[None]))[0] / (2 * step) for d in directions
    ]
    out = np.ones((6, low.counts[0] + 1))
    low.add_derivatives(0, c, directions, np.array([5, 0, 3, 2]), out)
    assert out[[5, 0, 3, 2], 1:] == pytest.approx(1.0 + np.array(expected), abs=1e-8)
    assert (out[:, 0] == 1).all()
    assert (out[[1, 4]] == 1).all()


def test_the_functions_that_vary_most_are_kept(parts, sparse_parts):
    low, pools, weights = parts
    few = choose_low_orders(pools, sparse_parts[0].density, weights, 40 * len(pools))
    assert few.counts == [40] * len(pools)
    for z, pool in enumerate(pools):
        n_single = few.blocks[z].n_single - 1
        everything, kept = low.values(z, pool), few.values(z, pool)
        assert kept[:, :n_single] == pytest.approx(everything[:, :n_single])
        spread = np.sort(everything[:, n_single:].std(axis=0))[::-1]
        assert np.sort(kept[:, n_single:].std(axis=0))[::-1] == pytest.approx(spread[: 40 - n_single])


def test_no_room_or_no_higher_order(parts, sparse_parts):
    _, pools, weights = parts
    density = sparse_parts[0].density
    assert choose_low_orders(pools, density, weights, len(pools) - 1) is None
    assert choose_low_orders(pools, density, weights[:2], 100) is None
    assert choose_low_orders(pools, density, np.array([0.7, 0.0, 0.1, 0.1]), 100) is None


def test_number_of_functions_is_predicted(parts, sparse_parts):
    _, pools, weights = parts
    density = sparse_parts[0].density
    for most in (40 * len(pools), 10**6):
        chosen = choose_low_orders(pools, density, weights, most)
        assert count_low_orders(density, 4, most) == sum(chosen.counts)
    assert count_low_orders(density, 2, 10**6) == 0


@pytest.mark.parametrize("order", [3, 4, 5, 6])
@pytest.mark.parametrize("fall", [5.0, 800.0])
@pytest.mark.parametrize("n_functions", [40, 10**6])
def test_support_points_that_stand_for_functions(n_functions, fall, order, parts, sparse_parts):
    """Their kernels of all orders are the functions, and take the low orders of the support points away.

    These low orders are larger than what is left by fall^2: rounding is that of the larger part.
    """
    _, pools, _ = parts
    weights = fall ** -np.arange(order)
    low = choose_low_orders(pools, sparse_parts[0].density, weights, n_functions * len(pools))
    rng = np.random.default_rng(1)
    for z, pool in enumerate(pools):
        support, others = pool[:2], pool[2:]
        coefficients, w = rng.normal(size=low.counts[z]), fall**2 * rng.normal(size=2)
        points, factors = low.points(z, coefficients, support, w, weights)
        found = kernels(weights, others, np.concatenate([support, points]), low.lmax)
        high = kernels(high_orders(weights), others, support, low.lmax) @ w
        expected = low.values(z, others) @ coefficients + high
        assert found @ np.concatenate([w, factors]) == pytest.approx(expected, abs=1e-12 * fall**3 + 1e-9)


def test_labels_of_low_orders_are_learned_to_their_noise(crystals):
    """With few support points, and by the model that is exported: its energies, forces and stresses are the labels."""
    options = SPARSE.model_copy(
        update={
            "order": 4, "order_weights": [0.7, 0.2, 0.05, 0.01], "energy_noise": 1e-4, "forces_noise": 1e-4,
            "stress_noise": 1e-4, "support_points": 8, "map": False, "uncertainty": False,
        }
    )  # fmt: skip
    data = Dataset(crystals)
    task = make_task(data, options, "sparse", 1)
    environments, weights = task.environments[0], np.array(options.order_weights)
    pools = candidates(environments, 100, 0)
    low = choose_low_orders(pools, task.densities[0], weights, 10**6)
    design = Design(environments, [pool[:0] for pool in pools], weights, low)
    rng, frames = np.random.default_rng(0), []
    coefficients = rng.normal(size=sum(low.counts))
    for k, frame in enumerate(data):
        n, labels = len(frame), design.of_frame(k)[:, 0] @ coefficients
        stress = labels[1 + 3 * n :] / abs(np.linalg.det(frame.cell))
        frames.append(replace(frame, energy=labels[0], forces=-labels[1 : 1 + 3 * n].reshape(n, 3), stress=stress))
    worst = {}
    for share in (0.0, 100.0):
        limits = replace(DEFAULT, sparse=replace(DEFAULT.sparse, explicit=share, explicit_from=1))
        model = train(frames, options, threads=1, limits=limits)
        found = model.predict(frames)
        worst[share] = [
            max(
                np.abs(np.subtract(getattr(p, name), getattr(f, name))).max()
                for p, f in zip(found, frames, strict=True)
            )
            for name in ("energy", "forces", "stress")
        ]
    assert max(worst[100.0]) < 3e-4
    assert all(without > 10 * explicit for without, explicit in zip(worst[0.0], worst[100.0], strict=True))


@pytest.mark.parametrize("order", [3, 4])
@pytest.mark.parametrize("fall", [5.0, 150.0])
def test_model_predicts_what_was_fitted(order, fall, crystals, tmp_path, monkeypatch):
    """Energies and forces of the model that is saved and loaded are those of the design and its weights."""
    options = SPARSE.model_copy(
        update={
            "order": order, "order_weights": [fall**-nu for nu in range(order)], "support_points": 20, "map": False,
            "uncertainty": False,
        }
    )  # fmt: skip
    seen = {}
    fitted = SparseRegression.fitted

    def watched(self, amplitude, noise):
        seen["weights"], leverage = fitted(self, amplitude, noise)
        return seen["weights"], leverage

    monkeypatch.setattr(SparseRegression, "fitted", watched)
    stream = fit.stream_design

    def watched_stream(design, *rest):
        seen["design"] = design
        return stream(design, *rest)

    monkeypatch.setattr(fit, "stream_design", watched_stream)
    model = train(crystals, options, threads=1, limits=FEW)
    model.save(tmp_path / "model.wkp")
    model = load(tmp_path / "model.wkp")
    assert model.info["training"]["explicit_functions"] > 5
    for k, frame in enumerate(crystals):
        expected, found = seen["design"].of_frame(k)[:, 0] @ seen["weights"], model.predict(frame)
        assert found.energy - len(frame) * model.baseline[0] == pytest.approx(expected[0], abs=3e-6)
        assert -found.forces.ravel() == pytest.approx(expected[1 : 1 + 3 * len(frame)], abs=3e-6)
