"""Error bars from the training labels: how firmly they hold the weights of a model's last layer.

The features phi_r of a coarse mapped form are the last layer. A label is a linear functional of the environments' energies,
so the labels leave the weights of the features the covariance C = (sum_labels phi phi^T / noise^2 + prior)^-1, and a
prediction the variance phi^T C phi ("last-layer prediction rigidity": Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.:
Sci. Technol. 5, 045018 (2024), arXiv:2403.02251). The noise is the error of frames that were left out of the fit, and
the variance is compared with these errors without what the left-out frames themselves contribute to C.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr, solve_triangular

from ..density.expansion import Density
from ..mapping.compression import compress, make_forms
from ..mapping.features import feature_derivatives, features
from ..mapping.mapping import choose_frames
from ..mapping.samples import draw_samples
from ..model import Model, SupportPoints
from ..threads import run_threads
from ..uncertainty import Uncertainty, feature_slices, leading
from .baseline import targets
from .data import Frame
from .environments import frame_environments
from .gram import label_slots
from .task import LeftOut, label_counts, sampled_frames

CHANNELS = 8  # leading ones of the density
THRESHOLD = 1e-2  # of `mapping.compression.compress`
PRIOR = 10.0  # standard deviation of a weight, in units of the weight that the model gives the feature
MEMBERS = 64  # whose energies are formed; forces of the first LANES only
MOST_LABELS = 20_000  # of randomly chosen frames, that stand for all
GRADE_QUANTILE = 0.999


@dataclass(frozen=True)
class FrameFeatures:
    """Features of one frame.

    Attributes:
        labels: (n_labels, R) what the labels measure of the features, in units of the labels.
        atoms: (N, R) features of the environments.

    """

    labels: np.ndarray
    atoms: np.ndarray


def frame_features(frame: Frame, densities: Sequence[Density], elements, forms) -> FrameFeatures:
    """Features of one frame, with the derivatives that its labels measure.

    Args:
        frame: with labels.
        densities: of the length scales, with the channels that the forms know.
        elements: sorted atomic numbers of the model.
        forms: by length scale and element.

    """
    rows = feature_slices(forms)
    slots, width = label_slots(frame), rows[-1][-1].stop
    labels, atoms = np.zeros((slots.max() + 1, width)), np.zeros((len(frame), width))
    for density, of_scale, slices in zip(densities, forms, rows, strict=True):
        environments = frame_environments(frame, density, elements)
        for i, z in enumerate(environments.centres):
            own = slice(environments.first[i], environments.first[i + 1])
            c = environments.coefficients[i]
            jacobian = environments.jacobian[own].reshape(-1, *c.shape)
            values, changes = [], []
            for form in of_scale[z]:
                y = features(form.block, c[None])[0] @ form.vectors.T
                dy = feature_derivatives(form.block, np.broadcast_to(c, jacobian.shape), jacobian) @ form.vectors.T
                values.append(np.sum(y * y, axis=0))
                changes.append(2 * np.einsum("mr,lmr->lr", y, dy))
            atoms[i, slices[z]] = np.concatenate(values)
            labels[slots[environments.label[own]], slices[z]] += np.concatenate(changes, axis=1)
    if frame.energy is not None:
        labels[slots[0]] = atoms.sum(axis=0)
    return FrameFeatures(labels, atoms)


def coarse_forms(model: Model, frames: Sequence[Frame], densities: Sequence[Density], threads: int = 1):
    """Forms of few products and eigenvalues, by length scale and element; orders above 4 are left out.

    Args:
        model: with support points.
        frames: structures like those of the training set.
        densities: of the length scales, with the leading channels.
        threads: how many.

    """
    chosen = choose_frames(model, frames, np.random.default_rng(0))
    out = []
    for scale, density in zip(model.scales, densities, strict=True):
        width, of_scale = density.projection.shape[3], []
        samples = draw_samples(chosen, density, model.elements)
        for s, a, x in zip(scale.support, scale.order_weights[:, :4], samples, strict=True):
            tangents = None if s.tangents is None else s.tangents[:, :, :width]
            points = SupportPoints(s.coefficients[:, :, :width], s.weights, tangents)
            known = np.any(x.directions)  # else no atom of the element has neighbours
            forms = make_forms(points, a, x.coefficients, x.directions, threads) if known else []
            of_scale.append([f for f in compress(forms, THRESHOLD) if len(f.values)] if known else [])
        out.append(of_scale)
    return out


class _Posterior:
    """Covariance of the weights, in units of their prior, as the triangle of A = X^T X + 1."""

    def __init__(self, rows, prior):
        self.prior = prior
        self.triangle = qr(np.concatenate([rows * prior, np.eye(len(prior))]), mode="r", check_finite=False)[0]
        self.triangle = self.triangle[: len(prior)]

    def whitened(self, rows) -> np.ndarray:
        """Rows (n, R) b with b b^T the covariance of linear functionals (n, R) of the weights."""
        return solve_triangular(self.triangle, (rows * self.prior).T, trans="T", check_finite=False).T

    def draws(self, n: int, rng) -> np.ndarray:
        """Weights (R, n): draws made of orthogonal vectors, as far as there are so many."""
        size = len(self.prior)
        normal = rng.normal(size=(size, n))
        for first in range(0, n, size):
            part = normal[:, first : first + size]
            normal[:, first : first + size] = np.linalg.qr(part)[0] * np.sqrt(size)
        return solve_triangular(self.triangle, normal, check_finite=False) * self.prior[:, None]


def fit_uncertainty(
    model: Model,
    frames: Sequence[Frame],
    left_out: LeftOut,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Uncertainty:
    """Ensemble of a model, calibrated on errors of frames that were left out.

    Args:
        model: trained on all frames.
        frames: of the training.
        left_out: errors of fits without some of them.
        threads: how many.
        seed: of the random choices.
        progress: called with the fraction done.

    """
    chosen = sampled_frames(label_counts(frames), MOST_LABELS, 2, seed)
    part = [frames[k] for k in chosen]
    densities = [leading(scale.density, CHANNELS) for scale in model.scales]
    forms = coarse_forms(model, frames, densities, threads)

    def work(frame: Frame) -> FrameFeatures:
        return frame_features(frame, densities, model.elements, forms)

    found = []
    for first in range(0, len(part), 4 * threads):
        found += run_threads(work, part[first : first + 4 * threads], threads)
        if progress:
            progress(len(found) / len(part))
    residuals = left_out.residuals(chosen)
    return calibrated(model, part, forms, found, residuals, left_out.folds[chosen], len(frames) / len(part), seed)


def calibrated(model: Model, frames, forms, found, residuals, folds, share: float, seed: int) -> Uncertainty:
    """Posterior of the weights, its calibration and its members."""
    _, kind, size = targets(frames, model.elements, model.baseline)
    first = np.concatenate([[0], np.cumsum(label_counts(frames))])
    errors = np.concatenate([r if r is not None else np.full(n, np.nan) for r, n in zip(residuals, np.diff(first), strict=True)])
    noise = np.ones(3)
    for k in np.unique(kind):
        noise[k] = np.sqrt(np.nanmean((errors[kind == k] / size[kind == k]) ** 2)) or 1.0
    weights = np.concatenate([f.values for of_scale in forms for of_element in of_scale for f in of_element])
    labels = np.concatenate([f.labels for f in found])
    scaled = np.sqrt(share) / (noise[kind] * size)
    posterior = _Posterior(labels * scaled[:, None], PRIOR * np.abs(weights))
    elements = [model.element_indices(f.numbers) for f in frames]
    atoms, z = np.concatenate([f.atoms for f in found]), np.concatenate(elements)
    mean = np.array([atoms[z == e].mean(axis=0) if np.any(z == e) else np.zeros(len(weights)) for e in range(len(model.elements))])
    of_labels, of_atoms = posterior.whitened(labels), posterior.whitened(atoms - mean[z])
    variance, local = np.zeros(len(labels)), np.zeros(len(atoms))
    atom_frame = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    label_frame = np.repeat(np.arange(len(frames)), np.diff(first))
    for fold in np.unique(folds):
        rows, own = folds[label_frame] == fold, folds[atom_frame] == fold
        b = of_labels[rows] * scaled[rows, None]
        rest = np.linalg.cholesky(np.eye(len(weights)) - b.T @ b + 1e-10 * np.eye(len(weights)))
        for source, target, which in ((of_labels, variance, rows), (of_atoms, local, own)):
            target[which] = np.sum(solve_triangular(rest, source[which].T, lower=True, check_finite=False) ** 2, axis=0)
    calibration = _calibration(errors, variance, kind)
    deviation = calibration[0] * np.sqrt(local)
    largest = np.array([np.quantile(deviation[z == e], GRADE_QUANTILE) if np.any(z == e) else 1.0 for e in range(len(model.elements))])
    members = posterior.draws(MEMBERS, np.random.default_rng(seed))
    return Uncertainty(CHANNELS, forms, members, mean @ members, largest, calibration)


def _calibration(errors, variance, kind) -> np.ndarray:
    """Factors (3,) that make the errors of each kind as large as the standard deviations say; maximum likelihood."""
    out = np.ones(3)
    for k in np.unique(kind):
        e, v = errors[kind == k], variance[kind == k]
        if k == 1:
            v = np.repeat(v.reshape(-1, 3).mean(axis=1), 3)
        out[k] = np.sqrt(np.nanmean(e**2 / v))
    return out
