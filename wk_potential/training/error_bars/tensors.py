"""Error bars of vectors and tensors: how firmly the labels hold the weights of the terms of a coarse form.

As for energies (`rigidity`): a fit leaves the weights a covariance, draws of which spread as the errors do. One factor
makes of the spread that of the errors of frames that were left out.
"""

from collections.abc import Sequence

import numpy as np

from ...analysis.reliability import best_factor
from ...atoms.frame import Frame
from ...atoms.neighbours import find_neighbours
from ...atoms.structure import Structure
from ...compute.threads import run_threads
from ...density.expansion import Density
from ...model.error_bars import coarse as coarse_density
from ...model.tensor_error_bars import TensorSpread, tensor_layers
from ...model.tensor_evaluation import tensor_terms_of
from ..mapping.samples import draw_samples
from ..mapping.tensors import TensorSupport, coarse
from .posterior import Posterior
from .rigidity import CHANNELS, LMAX, MEMBERS, MOST_FOLDS, PRIOR

THRESHOLD = 3e-4  # of `mapping.tensors.coarse`: with fewer terms deviations hardly grow beyond the training set


def fit_spread(
    momentum: int, densities: Sequence[Density], elements, supports: list[list[TensorSupport]], order_weights, sampled,
    frames: Sequence[Frame], residuals, n_frames: int, threads: int = 1, seed: int = 0,
) -> TensorSpread:  # fmt: skip
    """Error bars of a part of angular momentum L.

    Args:
        momentum: L.
        densities: of each length scale.
        elements: sorted atomic numbers of the model.
        supports: of each length scale and element.
        order_weights: (n_scales, n_elements, order).
        sampled: some frames, with all elements, from which the environments for the forms are drawn.
        frames: F of the training.
        residuals: (F, 2L + 1) errors there of fits without each.
        n_frames: of the training, all of them.
        threads: how many.
        seed: of the random choices.

    """
    small = [coarse_density(density, LMAX, CHANNELS) for density in densities]
    part, forms = np.s_[:, : (LMAX + 1) ** 2, :CHANNELS], []
    for density, scale, weights in zip(small, supports, order_weights, strict=True):
        samples, of_scale = draw_samples(sampled, density, elements), []
        for s, a, x in zip(scale, weights, samples, strict=True):
            points = TensorSupport(s.coefficients[part], s.weights)
            of_scale.append(coarse(points, momentum, a, x, THRESHOLD))
        forms.append(of_scale)
    layers, cutoff = tensor_layers(small, momentum, forms), max(d.radial.cutoff for d in densities)

    def terms(frame: Frame) -> np.ndarray:
        neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, cutoff)
        index = np.searchsorted(elements, frame.numbers)
        return tensor_terms_of(layers, Structure(frame.positions, np.array(frame.cell, float), index, neighbours))

    rows = np.concatenate([found.T for found in run_threads(terms, frames, threads)])
    size = np.repeat(np.sqrt([len(frame) for frame in frames]), 2 * momentum + 1)
    errors, share = np.ravel(residuals), n_frames / len(frames)
    noise = size * (np.sqrt(np.mean((errors / size) ** 2)) or 1.0)
    posterior = Posterior(rows, noise / np.sqrt(share), np.full(rows.shape[1], PRIOR))
    folds = np.repeat(np.arange(len(frames)) % MOST_FOLDS, 2 * momentum + 1)
    factor = best_factor(errors, posterior.left_out_deviations(folds))
    members = factor * posterior.draws(MEMBERS, np.random.default_rng(seed))
    return TensorSpread(momentum, LMAX, CHANNELS, forms, members)
