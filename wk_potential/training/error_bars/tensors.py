"""Error bars of vectors and tensors: how well the labels determine the weights of the terms of a coarse form.

As for energies (`rigidity`): the fit leaves a covariance of the weights, and draws of the weights form a committee. One
factor scales its spread to the leave-one-out errors.
"""

from collections.abc import Sequence

import numpy as np

from ...analysis.reliability import best_factor
from ...atoms.dataset import Dataset
from ...atoms.frame import Frame
from ...compute.threads import run_threads
from ...density.expansion import Density
from ...model.environments import as_arrays
from ...model.error_bars import coarse as coarse_density
from ...model.tensor_error_bars import TensorSpread, tensor_layers
from ...model.tensor_evaluation import tensor_terms_of
from ..limits import DEFAULT, Limits
from ..mapping.samples import draw_samples
from ..mapping.tensors import TensorSupport, coarse
from .posterior import Posterior


def fit_spread(
    momentum: int,
    densities: Sequence[Density],
    supports: Sequence[Sequence[TensorSupport]],
    order_weights: np.ndarray,
    sampled: Dataset,
    data: Dataset,
    residuals: np.ndarray,
    n_frames: int,
    threads: int = 1,
    seed: int = 0,
    limits: Limits = DEFAULT,
) -> TensorSpread:
    """Error bars of a part of angular momentum L.

    Args:
        momentum: L.
        densities: of each length scale.
        supports: of each length scale and element.
        order_weights: (n_scales, n_elements, order).
        sampled: some frames, with all elements, from which the environments for the forms are drawn.
        data: F frames of the training set.
        residuals: (F, 2L + 1) leave-one-out errors there.
        n_frames: number of frames of the training set.
        threads: how many.
        seed: of the random choices.
        limits: constants of training.

    """
    own, forms = limits.error_bars, []
    small = [coarse_density(density, own.lmax, own.channels) for density in densities]
    part = np.s_[:, : (own.lmax + 1) ** 2, : own.channels]
    for density, scale, weights in zip(small, supports, order_weights, strict=True):
        samples, of_scale = draw_samples(sampled, density, limits=limits.samples), []
        for s, a, x in zip(scale, weights, samples, strict=True):
            points = TensorSupport(s.coefficients[part], s.weights)
            of_scale.append(coarse(points, momentum, a, x, own.tensor_threshold, limits))
        forms.append(of_scale)
    layers, cutoff = tensor_layers(small, momentum, forms), max(d.radial.cutoff for d in densities)

    def terms(frame: Frame) -> np.ndarray:
        return tensor_terms_of(layers, as_arrays(frame, data.elements, cutoff))

    rows = np.concatenate([found.T for found in run_threads(terms, data, threads)])
    size = np.repeat(np.sqrt(data.n_atoms), 2 * momentum + 1)
    errors, share = np.ravel(residuals), n_frames / len(data)
    noise = size * (np.sqrt(np.mean((errors / size) ** 2)) or 1.0)
    posterior = Posterior(rows, noise / np.sqrt(share), np.full(rows.shape[1], own.prior))
    folds = np.repeat(np.arange(len(data)) % own.folds, 2 * momentum + 1)
    factor = best_factor(errors, posterior.left_out_deviations(folds))
    members = factor * posterior.draws(own.members, np.random.default_rng(seed))
    return TensorSpread(momentum, own.lmax, own.channels, forms, members)
