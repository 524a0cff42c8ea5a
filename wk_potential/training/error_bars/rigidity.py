"""Error bars from the training labels: how well they determine the weights of a model's last layer.

The features phi_r of a coarse mapped form are the last layer. A label is a linear functional of the environments'
energies, so with these labels the weights of the features have the covariance C = (sum phi phi^T / noise^2 + prior)^-1,
and a prediction has the variance phi^T C phi ("last-layer prediction rigidity": Bigi, Chong, Ceriotti, Grasselli, Mach.
Learn.: Sci. Technol. 5, 045018 (2024), arXiv:2403.02251). The noise is the rms leave-one-out error. The variances are
calibrated with the leave-one-out errors, without the contribution of the left-out frames to C.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from ...analysis.reliability import best_factor, negative_log_likelihood
from ...atoms.dataset import Dataset
from ...atoms.kinds import LabelKind
from ...compute.threads import run_threads
from ...density.expansion import Density
from ...density.frames import Environments, closest_distances
from ...forms.features import features
from ...forms.quadratic import TruncatedForm
from ...kernel.coupling import real_cg
from ...model.bonds import NONE, ordered_distances
from ...model.committee import LANES
from ...model.environments import as_arrays
from ...model.error_bars import Uncertainty, coarse, feature_slices
from ...model.model import Model
from ...model.support import SupportPoints
from ..limits import DEFAULT, ErrorBarLimits, Limits
from ..mapping.compression import DenseForms, compress
from ..mapping.samples import choose_frames, draw_samples
from ..task import LeftOut
from .novelty import choose_references
from .posterior import Posterior

BATCH = 32  # environments whose features are formed at once
SMALL_SAMPLE = student_t.ppf(0.75, LANES) / norm.ppf(0.75)  # the spread of so few members is uncertain itself


@dataclass(frozen=True)
class FrameFeatures:
    """Features of one frame.

    Attributes:
        labels: (n_labels, R) what the labels measure of the features, in units of the labels.
        atoms: (N, R) features of the environments.

    """

    labels: np.ndarray
    atoms: np.ndarray


def frame_features(
    scales: Sequence[Environments], forms: Sequence[Sequence[Sequence[TruncatedForm]]], k: int
) -> FrameFeatures:
    """Features of one frame, with the derivatives that its labels measure.

    Args:
        scales: environments by the density of each length scale, with the channels that the forms know.
        forms: by length scale and element.
        k: number of the frame.

    """
    rows, data = feature_slices(forms), scales[0].data
    slots, width = data.slots(k), rows[-1][-1].stop
    labels, atoms = np.zeros((slots.max() + 1, width)), np.zeros((data.n_atoms[k], width))
    for scale, of_scale, slices in zip(scales, forms, rows, strict=True):
        environments = scale.of_frame(k)
        for z, (of_element, columns) in enumerate(zip(of_scale, slices, strict=True)):
            own = np.flatnonzero(environments.centres == z)
            for batch in np.split(own, range(BATCH, len(own), BATCH)) if len(own) else ():
                values, gradients = _with_gradients(of_element, environments.coefficients[batch])
                atoms[batch, columns] = values
                for i, gradient in zip(batch, gradients, strict=True):
                    part = slice(environments.first[i], environments.first[i + 1])
                    labels[slots[environments.label[part]], columns] += environments.jacobian[part] @ gradient.T
    if slots[0] == 0:
        labels[slots[0]] = atoms.sum(axis=0)
    return FrameFeatures(labels, atoms)


def _with_gradients(forms: Sequence[TruncatedForm], c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, R) of environments c (n, n_lm, Q) of one element, and their gradients (n, R, n_lm * Q)."""
    values, gradients = [np.zeros((len(c), 0))], [np.zeros((len(c), 0, c[0].size))]
    for form in forms:
        block, u, (n, _, width) = form.block, form.vectors, c.shape
        y = features(block, c) @ u.T
        values.append(np.sum(y * y, axis=1))
        gradient = np.zeros((n, len(u), *c.shape[1:]))
        single = u[:, int(block.constant) : block.n_single]
        own = slice(block.L**2, (block.L + 1) ** 2)
        gradient[:, :, own, : block.channels] = np.einsum("nmr,rq->nrmq", y, single)
        for l1, l2, pairs, columns in block.products:
            one, two = slice(l1 * l1, (l1 + 1) ** 2), slice(l2 * l2, (l2 + 1) ** 2)
            table = np.zeros((len(u), width, width))
            table[:, pairs[:, 0], pairs[:, 1]] = u[:, columns]
            coupled = np.tensordot(y, real_cg(l1, l2, block.L), (1, 2))  # (n, R, 2 l1 + 1, 2 l2 + 1)
            gradient[:, :, one] += coupled @ (c[:, None, two] @ table.transpose(0, 2, 1))
            gradient[:, :, two] += coupled.transpose(0, 1, 3, 2) @ (c[:, None, one] @ table)
        gradients.append(2 * gradient.reshape(n, len(u), -1))
    return np.concatenate(values, axis=1), np.concatenate(gradients, axis=1)


def coarse_forms(
    model: Model, data: Dataset, densities: Sequence[Density], threads: int = 1, limits: Limits = DEFAULT
) -> list[list[list[TruncatedForm]]]:
    """Forms of few products and eigenvalues, by length scale and element; orders above 4 are left out.

    Args:
        model: with support points.
        data: structures like those of the training set.
        densities: of the length scales, as `coarse` makes them.
        threads: how many.
        limits: constants of training.

    """
    chosen = choose_frames(data, np.random.default_rng(0), limits.samples)
    out = []
    for scale, density in zip(model.scales, densities, strict=True):
        part, of_scale = np.s_[:, : (density.lmax + 1) ** 2, : density.projection.shape[3]], []
        samples = draw_samples(chosen, density, limits=limits.samples)
        for s, a, x in zip(scale.support, scale.order_weights[:, :4], samples, strict=True):
            tangents = None if s.tangents is None else s.tangents[part]
            points = SupportPoints(s.coefficients[part], s.weights, tangents)
            known = np.any(x.directions)  # else no atom of the element has neighbours
            forms = DenseForms.of(points, a, x, threads, limits.mapping).forms(threads) if known else []
            of_scale.append([f for f in compress(forms, limits.error_bars.threshold) if len(f.values)] if known else [])
        out.append(of_scale)
    return out


def frames_of_error_bars(data: Dataset, seed: int, limits: ErrorBarLimits = DEFAULT.error_bars) -> np.ndarray:
    """Numbers of the frames on which `fit_uncertainty` makes and calibrates the error bars."""
    return data.sampled(limits.labels, 2, seed, limits.environments)


def fit_uncertainty(
    model: Model,
    data: Dataset,
    left_out: LeftOut,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    limits: Limits = DEFAULT,
) -> Uncertainty:
    """Committee of a model, calibrated on errors of frames that were left out.

    Args:
        model: trained on all frames.
        data: the training set.
        left_out: its leave-one-out errors.
        threads: how many.
        seed: of the random choices.
        progress: called with the fraction done, or None.
        limits: constants of training.

    Raises:
        MappingError: the features are too many.

    """
    own = limits.error_bars
    numbers = frames_of_error_bars(data, seed, own)
    residuals, chosen = left_out.residuals(numbers), data.subset(numbers)
    cutoff = max(scale.density.radial.cutoff for scale in model.scales)
    densities = [coarse(scale.density, own.lmax, own.channels) for scale in model.scales]
    forms = coarse_forms(model, chosen, densities, threads, limits)
    features = _features(chosen, densities, forms, threads, progress)
    sizes = np.abs([v for of_scale in forms for of_element in of_scale for f in of_element for v in f.values])
    errors = _Errors.of(chosen, residuals)
    # the chosen frames stand for all: their noise is that much smaller
    root, folds = np.sqrt(len(data) / len(chosen)), np.arange(len(chosen)) % own.folds

    rows = np.concatenate([f.labels for f in features])
    labels = Posterior(rows, errors.noise / root, own.prior * sizes)
    deviations = labels.left_out_deviations(folds[chosen.frame_of_label])

    # the environments, as if the energy of each were a label
    atoms, species = np.concatenate([f.atoms for f in features]), chosen.species
    present = [species == z for z in range(len(model.elements))]
    mean = np.stack([atoms[z].mean(axis=0) if z.any() else np.zeros(len(sizes)) for z in present])
    noise = np.full(len(atoms), errors.each_atom / root)
    environments = Posterior(atoms - mean[species], noise, own.local_prior * sizes)
    local = environments.left_out_deviations(np.repeat(folds, chosen.n_atoms))
    # the quantile is zero where no atom of an element has neighbours
    largest = [np.quantile(local[z], own.grade_quantile) or 1.0 if z.any() else 1.0 for z in present]

    first_atom = np.cumsum([0, *chosen.n_atoms[:-1]])
    of_frames = np.sqrt(np.add.reduceat(local**2, first_atom))[chosen.counts_by_kind[:, LabelKind.ENERGY] > 0]
    calibration = _calibration(errors, deviations, of_frames, own)
    rng = np.random.default_rng(seed)
    members, probes = labels.draws(own.members, rng), environments.draws(own.probes, rng)
    return Uncertainty(
        own.lmax, own.channels, forms, members, probes, mean @ probes, np.array(largest), calibration,
        np.minimum(own.closer * closest_distances(data, cutoff), cutoff), *usual_distances(data, cutoff, own),
        *choose_references(chosen, coarse(model.scales[0].density, own.reference_lmax, own.channels), own),
    )  # fmt: skip


def usual_distances(
    data: Dataset, cutoff: float, limits: ErrorBarLimits = DEFAULT.error_bars
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n_elements, K) of the distances of nearest neighbours in the training set, with a margin.

    Args:
        data: the training set.
        cutoff: of the model, Angstrom.
        limits: constants of this step.

    """
    n = len(data.elements)
    low, high = np.full((n, limits.bonds), NONE), np.zeros((n, limits.bonds))
    for frame in data:
        structure = as_arrays(frame, data.elements, cutoff)
        found = ordered_distances(structure, data.elements, limits.bonds, cutoff)
        np.minimum.at(low, structure.species, found)
        np.maximum.at(high, structure.species, found)
    return limits.closer * low, np.minimum(limits.farther * high, NONE)


def _features(
    data: Dataset,
    densities: Sequence[Density],
    forms: Sequence[Sequence[Sequence[TruncatedForm]]],
    threads: int,
    progress: Callable[[float], None] | None,
) -> list[FrameFeatures]:
    """Features of all frames; arguments as in `fit_uncertainty` and `frame_features`."""
    scales, found = [Environments(data, density) for density in densities], []
    for first in range(0, len(data), 4 * threads):
        batch = range(first, min(first + 4 * threads, len(data)))
        found += run_threads(lambda k: frame_features(scales, forms, k), batch, threads)
        if progress:
            progress(len(found) / len(data))
    return found


@dataclass(frozen=True)
class _Errors:
    """Errors of left-out frames.

    Attributes:
        values: (n,) in the units of the labels.
        known: (n,) which of them were computed.
        kind: (n,) of the labels.
        noise: (n,) rms error of each kind, for labels of this size.
        each_atom: eV, the rms error of energies per square root of the number of atoms.

    """

    values: np.ndarray
    known: np.ndarray
    kind: np.ndarray
    noise: np.ndarray
    each_atom: float

    @classmethod
    def of(cls, data: Dataset, residuals: Sequence[np.ndarray | None]) -> "_Errors":
        """Take the residuals (n_labels,) of each frame, None for those that were not computed."""
        kind, size = data.kind, data.size
        known = np.repeat([r is not None for r in residuals], data.label_counts)
        values, rms = np.zeros(len(kind)), np.ones(len(LabelKind))
        values[known] = np.concatenate([r for r in residuals if r is not None])
        for k in np.unique(kind):
            own = known & (kind == k)
            rms[k] = (np.sqrt(np.mean((values[own] / size[own]) ** 2)) if own.any() else 0.0) or 1.0
        return cls(values, known, kind, rms[kind] * size, float(rms[kind[0]]))


def _calibration(errors: _Errors, deviations: np.ndarray, of_frames: np.ndarray, limits: ErrorBarLimits) -> np.ndarray:
    """Factors (5,) of standard deviations; see `Uncertainty`.

    Args:
        errors: of left-out frames.
        deviations: (n,) of the labels.
        of_frames: of labelled energies, the deviations of the frame's atoms added up in quadrature.
        limits: constants of this step.

    """
    out = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    for k in (LabelKind.FORCES, LabelKind.STRESS):
        own = errors.known & (errors.kind == k)
        if own.any():
            out[k] = SMALL_SAMPLE * best_factor(errors.values[own], deviations[own])
    energies = errors.kind == LabelKind.ENERGY
    if not energies.any():
        return out
    own = errors.known & energies
    e, of_sum, of_atoms = errors.values[own], deviations[own], of_frames[errors.known[energies]]
    out[3] = best_factor(e, of_atoms)
    of_sum, of_atoms = of_sum * best_factor(e, of_sum), of_atoms * out[3]
    found = []
    for share in np.linspace(0, 1, limits.shares):
        mixed = np.sqrt((1 - share) * of_sum**2 + share * of_atoms**2)
        factor = best_factor(e, mixed)
        found.append((negative_log_likelihood(e, factor * mixed), factor, share))
    best = min(found)
    _, factor, share = best if len(e) * (found[0][0] - best[0]) > limits.evidence else found[0]
    out[0] = factor * best_factor(e, deviations[own]) * np.sqrt(1 - share)
    out[4] = factor * out[3] * np.sqrt(share)
    return out
