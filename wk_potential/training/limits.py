"""Constants that decide what training does: one frozen object, passed to every step and recorded in the model.

They were found on the data sets of the benchmarks, as the comments tell, and hardly ever need to be changed. What users
should set is in `TrainingOptions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PerEstimator:
    """A number for each of the two estimators."""

    full: float
    sparse: float

    def of(self, estimator: str) -> float:
        """Return that of an estimator."""
        return getattr(self, estimator)


@dataclass(frozen=True)
class ChoiceLimits:
    """Which estimator `estimator="auto"` takes: the full one up to these sizes (5 GB and some minutes).

    Up to larger sizes where no frame is periodic: environments of molecules have few channels, so that conjugate
    gradients take minutes, and errors are smaller by a third.
    """

    full_labels: int = 8000
    full_environments: int = 3000
    molecular_labels: int = 30_000
    molecular_environments: int = 12_000


@dataclass(frozen=True)
class DensityLimits:
    """How the channels of the density are reduced to those that the training set uses (`channels`)."""

    frames: int = 200  # at most, drawn at random
    environments: int = 400  # of each element in these, at most, that are looked at with atoms that stray
    stray: float = 0.05  # Angstrom, by which atoms may stray from the frames; it also keeps channels that forces need
    # of the largest rms norm of an element, from which on others are scaled: atoms that hardly have neighbours are not
    least_norm: float = 0.1


@dataclass(frozen=True)
class RepulsionLimits:
    """Where the repulsion of a pair of elements begins and is whole (`repulsion`)."""

    outer: float = 0.9  # of the smallest distance in the training set: no frame is touched
    inner: float = 0.5  # of the outer radius
    contact: float = 2.0  # sums of the covalent radii, beyond which no pair is repelled, with or without such frames


@dataclass(frozen=True)
class TrialLimits:
    """What is tried on some of the frames before training, and by how much a score must rise (`trials`)."""

    # Of the frames that are used, at most. With fewer the choice hangs on which frames are drawn
    labels: PerEstimator = PerEstimator(800, 12_000)
    environments: int = 30_000  # of these frames, at most: energies alone are few labels of many atoms
    support_points: int = 600  # of the sparse estimator
    doubted: float = 100.0  # labels of a kind count half in its scores: the logarithm of their error is known to 0.1
    falls: tuple[float, ...] = (20.0, 400.0)  # of its order weights, see `SparseLimits`; their best score is taken
    energy_falls: tuple[float, ...] = (0.3, 5.0)
    # Tried by the sparse estimator, and before a search: support points want less weight of high angular momenta,
    # compounds smoother densities, dense metals a shorter cutoff
    shapes: tuple[Mapping[str, float], ...] = (
        {"angular_weight": 0.0},
        {"angular_weight": 0.0, "density_width": 0.4, "density_growth": 3.0},
        {"angular_weight": 0.0, "density_width": 0.5, "density_growth": 3.0},
        {"angular_weight": 0.0, "cutoff": 5.0, "cutoff_width": 2.0},
    )
    # tried too where there are energies alone: relaxed molecules differ little in their distances
    sharp: Mapping[str, float] = field(
        default_factory=lambda: {
            "angular_weight": 0.0, "density_width": 0.05, "density_growth": 1.0, "cutoff": 4.0, "cutoff_width": 3.0,
        }
    )  # fmt: skip
    shape_gain: float = 0.1  # scores of few frames scatter by about this much
    # Tried for periodic frames, with the best shape: in PbTe atoms feel their fourth neighbours at 6.5 Angstrom, and
    # forces of left-out frames have half the error. A step costs twice as much, or more
    far: Mapping[str, float] = field(default_factory=lambda: {"cutoff": 8.0, "cutoff_width": 4.0})
    far_gain: float = 0.3
    # Tried for periodic frames, beside the best shape and cutoff: directions in more detail and one neighbour less in
    # the correlations; with sharper atoms too, for hot metals whose elements are of about the same size. Few support
    # points make a lower order look better than it is with many
    finer: Mapping[str, float] = field(default_factory=lambda: {"lmax": 4, "order": 3})
    metal: Mapping[str, float] = field(
        default_factory=lambda: {
            "lmax": 4, "order": 3, "angular_weight": 0.0, "density_width": 0.2, "density_growth": 6.0, "cutoff": 5.0,
            "cutoff_width": 2.0,
        }
    )  # fmt: skip
    body_gain: float = 0.3
    # Tolerances of channels, where there are several elements; the middle one is first. The cost of a step is about the
    # square of the number of channels, which is worth a few per cent of error
    channels: tuple[float, float, float] = (1e-3, 3e-3, 1e-2)
    channels_loss: float = 0.1
    # Of elements: alloys of many metals gain, molecules and water do not. Few support points make it look better
    mixings: tuple[float, ...] = (0.6, 0.8)
    mixing_gain: float = 0.4
    energy_mixing_gain: float = 0.2  # where there are energies alone, whose logarithm is the whole score
    # Where elements of an alloy never met, left-out frames do not tell what mixing is good for, nor that saturation
    # harms: mixing may cost so much, and saturation must gain as much
    alloy_margin: float = 0.2
    saturation: PerEstimator = PerEstimator(2.0, 1.0)
    # what saturation may cost: molecules gain from it, and a liquid may collapse without it
    saturation_loss: float = 0.2


@dataclass(frozen=True)
class SearchBounds:
    """Bounds of the parameters of the density in the search, those of `TrainingOptions`."""

    cutoff: tuple[float, float] = (3.5, 9.0)
    cutoff_width: tuple[float, float] = (1.0, 8.0)
    density_width: tuple[float, float] = (0.04, 0.8)
    density_growth: tuple[float, float] = (0.8, 12.0)
    short_cutoff: tuple[float, float] = (1.6, 4.5)
    short_density_width: tuple[float, float] = (0.08, 0.6)
    angular_weight: tuple[float, float] = (-0.4, 1.2)


@dataclass(frozen=True)
class SearchLimits:
    """The search for the parameters of the density (`search`)."""

    labels: PerEstimator = PerEstimator(1500, 12_000)  # of the frames on which parameters are scored, at most
    environments: int = 30_000  # of these frames, at most
    support_points: int = 300  # with which the sparse estimator is scored
    evaluations: int = 60  # of the score, at most
    digits: int = 3  # to which parameters are rounded
    bounds: SearchBounds = SearchBounds()
    lmax: int = 6  # largest that is tried
    lmax_gain: float = 0.1  # by which the score must rise for one more angular momentum, which doubles the cost


@dataclass(frozen=True)
class FullLimits:
    """Hyperparameters of the full estimator by marginal likelihood (`full.likelihood`).

    The likelihood of few labels has several maxima, and that of many forces may ignore the few energies, so errors of
    frames that are left out decide between candidates. Scores are those of `task.score_of_errors`.
    """

    search_labels: int = 4000  # on which the likelihood is maximised, at most
    search_environments: int = 20_000  # of these frames, at most
    search_gigabytes: float = 4.1  # of the Gram matrices: less labels if there are more than four elements
    start_labels: int = 800  # on which the two starts are compared, at most
    noise_starts: tuple[float, ...] = (3e-3, 0.1)  # of the rms of the labels
    least_noise: float = 3e-4  # of the rms: with less the likelihood rises, but errors of unseen frames do not fall
    noise_factors: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # by which the noise of forces may be raised
    rescues: tuple[float, ...] = (10.0, 1e2, 1e3, 1e4)  # factors of noise with which no covariance is positive definite
    noise_loss: float = 0.02  # of the score, which more noise of forces may cost
    few_factors: tuple[float, ...] = (4.0**-1, 4.0**-2, 4.0**-3, 4.0**-4, 4.0**-5, 4.0**-6)  # of energies, stresses
    few_gain: float = 0.1  # of the score, which less noise of energies or stresses must bring
    direct_labels: int = 8000  # more are solved for by conjugate gradients, without their covariance (`full.iterative`)
    fewer_search_labels: int = 2000  # on which the likelihood is maximised then, at most
    channels: float = 5e-3  # tolerance of channels then: left-out errors rise by 2 %, and the cost falls by ten times
    preconditioner_share: float = 0.25  # environments by which the equations are preconditioned, for each label
    preconditioner_points: int = 6000  # of these, at most
    block_share: float = 0.02  # of the covariance within each frame that these do not describe: halves the iterations
    residual: float = 0.1  # rms of each kind of label, in units of its noise: predictions are so near to the exact ones
    iterations: int = 500  # at most
    held_out: float = 0.1  # of the frames, without which a fit is made for the expected errors


@dataclass(frozen=True)
class NoiseGrid:
    """Factors with which the search for amplitude and noise of the sparse estimator begins."""

    amplitude: tuple[float, ...] = (1e-6, 1e-3, 1.0, 1e3, 1e6)
    noise: tuple[float, ...] = (0.03, 0.3, 3.0)  # of energies and stresses, beside forces

    @property
    def size(self) -> int:
        """Number of points where there are three kinds of labels."""
        return len(self.amplitude) * len(self.noise) ** 2


@dataclass(frozen=True)
class SparseLimits:
    """The sparse estimator (`sparse`)."""

    least_support: int = 100  # support points, however few minutes the user gives
    # By default: the least, and more until there are so many with the explicit functions, as far as the time suffices
    default_support: tuple[int, int] = (3000, 8000)
    default_seconds: float = 300.0
    explicit: float = 1.0  # functions of orders 1 and 2 for each support point, at most (`sparse.low_orders`)
    explicit_from: int = 500  # support points: with fewer, models that are not mapped are faster without
    memory: float = 0.8  # of the free memory, which support points may take where the time decides how many
    candidates: int = 20_000  # environments of each element among which support points are chosen
    # Where support points outnumber the environments, those of rattled copies of the frames with forces are candidates
    # too. (Ethanol, 300 frames: left-out forces 13.6 -> 8.7 meV/Angstrom. Else they are no gain: LLZO 33 -> 35)
    copies: int = 2  # of each frame
    rattle: float = 0.05  # Angstrom, of the copies; 0.01 to 0.1 do as well
    folds: int = 4  # of the cross-validation
    many_frames: int = 5000  # of which only some are left out, once: a fold takes memory and time
    held_out: float = 0.1  # of so many frames
    search_support: int = 800  # support points with which the order weights are chosen, at most
    search_labels: int = 20_000  # on which they are chosen, about
    search_environments: int = 60_000  # of these frames, about: energies alone are few labels of many atoms
    falls: tuple[float, ...] = (5.0, 30.0, 150.0, 800.0)  # factors by which the weight falls from order to order
    energy_falls: tuple[float, ...] = (0.3, 1.0, 5.0, 30.0)  # where there are energies alone
    noise_evaluations: int = 40  # of the cross-validation error in a search for amplitude and noise, about
    final_evaluations: int = 12  # with all support points, from what was found with few
    start_amplitude: float = 1e6  # of the kernel, in units of the mean square of the labels
    start_noise: tuple[float, float, float] = (0.01, 0.1, 0.03)  # of the rms of energies, forces, virials
    least_noise: float = 1e-4  # of the rms: errors of left-out frames are rounding errors with less
    left_out_labels: int = 8000  # whose leave-one-out errors are computed, at most
    counted_frames: int = 10  # whose neighbours are counted to predict the cost, about
    grid: NoiseGrid = NoiseGrid()
    price: float = 5e-3  # of the score, which a kernel that is larger by a factor e must bring, or less noise


@dataclass(frozen=True)
class TensorLimits:
    """Dipoles and polarisabilities (`tensors`, `mapping.tensors`)."""

    full_labels: int = 10_000  # of the full estimator: 1.6 GB and a few minutes
    full_environments: int = 10_000  # up to which "auto" takes it: some minutes
    search_labels: int = 1500  # on which the likelihood is maximised, at most
    columns: int = 3000  # weights of the support points, at most: some matrices of 70 MB, and a minute
    left_out_labels: int = 8000  # whose leave-one-out errors the sparse estimator computes, at most
    # How the densities differ from those of energies, by likelihood and leave-one-out errors of water dimers:
    width: float = 5 / 3  # factor of the Gaussian width
    short_width: float = 3 / 4  # factor of that of the short density
    short_cutoff: float = 5 / 6  # factor
    angular_weight: float = -1.1  # is added
    # Small forms
    mapping_share: float = 0.1  # of the expected error, by which the small form may deviate
    compared_environments: int = 150  # on which it is compared with the exact one, at most
    compared_displacement: float = 0.2  # Angstrom, of their atoms
    threshold_exponents: tuple[float, float, float] = (-1.0, -12.0, -0.25)  # of the thresholds tried: first, last, step
    # Residuals that change with the centre of mass reveal a wrong charge or origin:
    origin_slope: float = 0.05  # e
    origin_significance: float = 4.0  # standard deviations

    @property
    def thresholds(self) -> np.ndarray:
        """Thresholds that are tried, the largest first."""
        return _powers(self.threshold_exponents)


@dataclass(frozen=True)
class SampleLimits:
    """Environments in whose metric forms are made small (`mapping.samples`)."""

    frames: int = 60  # from which they are drawn, about
    environments: int = 3000  # of each element, about
    rattle: float = 0.1  # Angstrom, of the copies: dynamics goes where the frames are not


@dataclass(frozen=True)
class MappingLimits:
    """The mapped form (`mapping`)."""

    seconds: float = 1200.0  # that it may take in training, as predicted
    # The default tolerance of forces. The rms of the deviation is smaller than the largest by a factor of 4 to 25, so
    # that errors hardly change (LLZO: a tenth of the share makes the form twice as expensive and no better)
    share: float = 0.25  # of the expected error of forces
    least_tolerance: float = 1e-4  # eV/Angstrom
    most_tolerance: float = 1e-2  # eV/Angstrom
    slack: float = 3.0  # times the default tolerance are better than eight times the effort
    features: tuple[int, ...] = (2000, 4000)  # of a block: one after the other until they suffice; cubic effort
    most_features: int = 9000  # before screening: matrices of 650 MB, several of them at a time
    value_weight: float = 0.3  # of the features themselves in the metric, beside their changes
    measured_atoms: int = 600  # on which forces are compared with the direct kernel, half of them in rattled copies
    measured_rattle: float = 0.05  # Angstrom, of these copies
    unseen_deviation: float = 10.0  # times as much deviation is allowed where elements have met that never do in frames
    threshold_exponents: tuple[float, float, float] = (-2.0, -12.0, -0.25)  # of the thresholds tried: first, last, step

    @property
    def thresholds(self) -> np.ndarray:
        """Thresholds that are tried, the largest first."""
        return _powers(self.threshold_exponents)


@dataclass(frozen=True)
class ErrorBarLimits:
    """The committee of the error bars and its calibration (`error_bars`)."""

    lmax: int = 2  # of the density that its features are made of
    channels: int = 8  # leading ones of the density
    threshold: float = 3e-3  # of the small forms of energies whose squares are the features
    tensor_threshold: float = 3e-4  # of those of tensors: with fewer terms deviations hardly grow far from the data
    # Prior standard deviation of a feature's weight, in units of the weight that the model gives it. It is wide for
    # labels, which are sums over atoms and determine each weight less well
    prior: float = 100.0
    local_prior: float = 1.0
    members: int = 64  # draws of the weights
    probes: int = 32  # draws of the weights for the uncertainty of single atoms
    shares: int = 11  # tried from 0 to 1: part of the variance of an energy for which the atoms err independently
    evidence: float = 2.0  # by which such a part must raise the log likelihood
    labels: int = 20_000  # of random frames that stand for all, at most
    environments: int = 60_000  # of these frames, at most
    folds: int = 100  # in which frames are left out; one by one if there are fewer frames
    grade_quantile: float = 0.999  # of the left-out environments has an extrapolation grade below 1
    closer: float = 0.9  # times the smallest distance of the training set: closer atoms are extrapolation
    bonds: int = 6  # nearest neighbours whose distances are compared with those of the training set
    farther: float = 1.1  # times the largest distance of the training set: bonds that are longer are broken
    reference_lmax: int = 3  # of the density by which environments are compared
    references: int = 200  # environments of each element with which others are compared
    novel: float = 2.0  # times the distance that left-out environments are from them: farther ones are extrapolation


@dataclass(frozen=True)
class DoubtLimits:
    """When labels are doubted (`doubts`)."""

    large_stress: float = 1.0  # eV/Angstrom^3 (160 GPa), rms of the median frame
    large_force: float = 10.0  # eV/Angstrom, rms of the median frame
    small_force: float = 0.05  # eV/Angstrom, rms of the others: with less, atoms without force may be at rest
    seldom: float = 0.1  # of the frames: in as many, symmetry may leave one atom without force
    opposite: float = -0.3  # correlation of virials with those predicted; sound data have 0.95 and more
    significance: float = 2.0  # standard deviations of the correlation of unrelated stresses
    slope: float = 0.4  # logarithm of the slope of energies against those that forces imply; sound data have 0
    slope_significance: float = 4.0  # standard deviations of this logarithm
    slope_correlation: float = 0.9  # of the two, below which the slope says nothing
    slope_frames: int = 12  # whose energies the sparse estimator compares, at least
    slope_freedom: int = 10  # frames beyond the number of compositions: fewer tell little
    slope_labels: int = 3000  # of these frames, at most
    partial: float = 0.5  # of the frames: a kind of label that fewer have is worth a word


@dataclass(frozen=True)
class Speeds:
    """Speeds of one core of one machine, from which times are predicted; others differ by a factor of two or so.

    The predicted time is logged, and decides whether a model is mapped (`MappingLimits.seconds`).
    """

    kernel_products: float = 2e10  # multiply-adds per second, of Gram matrices and dense forms
    likelihood_products: float = 3.5e10  # multiply-adds per second, of the search for hyperparameters
    solution_products: float = 5e10  # multiply-adds per second, of the solution for all labels
    normal_products: float = 2.5e10  # multiply-adds per second, of normal equations
    gradient_pairs: float = 8.6e9  # multiply-adds per second, of kernels of two environments with gradients
    energy_pairs: float = 2.1e10  # multiply-adds per second, of the same without gradients
    explicit_derivative: float = 1e-8  # seconds, of an explicit function
    tensor_pair: float = 1.2e-6  # seconds for the tensor kernel of two environments, lmax 3
    recoupling: float = 8e-8  # seconds for an element of the recoupled matrices
    form: float = 5e-10  # seconds for the third power of the features of a block


@dataclass(frozen=True)
class Limits:
    """All constants that decide what training does, by stage.

        limits = Limits(full=FullLimits(search_labels=2000))

    Attributes:
        importance: weights of the logarithms of the errors of energies, forces and stresses in a score. Stresses count
            less: those of plane-wave codes may contradict the energies (Pulay stress), which are to be believed then.
        kept_bytes: of expanded environments that are kept for each density, so as not to expand them again.
        outgrown: a model that grows is trained anew at so many times the labels of its hyperparameters.

    """

    choice: ChoiceLimits = ChoiceLimits()
    density: DensityLimits = DensityLimits()
    repulsion: RepulsionLimits = RepulsionLimits()
    trials: TrialLimits = field(default_factory=TrialLimits)
    search: SearchLimits = SearchLimits()
    full: FullLimits = FullLimits()
    sparse: SparseLimits = SparseLimits()
    tensors: TensorLimits = TensorLimits()
    samples: SampleLimits = SampleLimits()
    mapping: MappingLimits = MappingLimits()
    error_bars: ErrorBarLimits = ErrorBarLimits()
    doubts: DoubtLimits = DoubtLimits()
    speeds: Speeds = Speeds()
    importance: tuple[float, float, float] = (1.0, 1.0, 0.3)
    kept_bytes: float = 2e8
    outgrown: float = 1.5

    def to_json(self) -> dict[str, Any]:
        """Return all numbers by name, for the header of a model."""
        return _plain(self)


def _powers(exponents: tuple[float, float, float]) -> np.ndarray:
    first, last, step = exponents
    return 10.0 ** np.arange(first, last + 0.04 * step, step)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


DEFAULT = Limits()
