"""From a model with support points to the same model in mapped form."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, overload

import numpy as np
from ase.data import chemical_symbols
from threadpoolctl import threadpool_limits

from ...analysis.evaluation import expected_forces_error
from ...atoms.dataset import Dataset
from ...atoms.frame import Frame
from ...compute.threads import thread_count
from ...errors import MappingError
from ...forms.features import all_blocks
from ...forms.quadratic import TruncatedForm
from ...model.energy import Potential, evaluate
from ...model.environments import as_arrays
from ...model.model import Model
from ...model.scale import Scale
from ..limits import DEFAULT, Limits, MappingLimits
from ..task import quiet
from .compression import DenseForms, ExactForm, channel_counts, compress, exact, rounded
from .metric import largest_threshold
from .samples import choose_frames, draw_samples, lacking_mixtures, with_copies

Elements = list[list[TruncatedForm]]  # quadratic forms of each central element


def map_model(
    model: Model,
    frames: Sequence[Frame],
    tolerance: float | None = None,
    threads: int | None = None,
    log: Callable[[str], None] | None = None,
    progress: Callable[[float], None] | None = None,
    most_seconds: float = float("inf"),
    limits: Limits = DEFAULT,
) -> Model:
    """Return the model with its mapped form beside the support points.

    The form is as small as the tolerance allows, measured as the largest deviation of a force component from the
    direct kernel on some of the frames and on rattled copies of them.

    Args:
        model: of order at most 4.
        frames: structures like those of the training set; their labels are not used.
        tolerance: eV/Angstrom [see `default_tolerance`]; 0 makes the form exact and large.
        threads: as in `thread_count`.
        log: receives lines of text for people.
        progress: called with the fraction done, or None.
        most_seconds: that it may take, as predicted.
        limits: constants of training.

    Raises:
        MappingError: the model has no energies, the order is 5 or 6, the tolerance is negative or out of reach, no
            frame has one of the elements, or it would take longer than it may.
        UnknownElementError: a frame has an element that the model has not.

    """
    log = log or quiet
    default = default_tolerance(model, limits.mapping)
    tolerances = [default, default * limits.mapping.slack] if tolerance is None else [tolerance]
    tolerance = tolerances[0]
    _refuse(model, frames, tolerance, thread_count(threads), most_seconds, limits)
    rng = np.random.default_rng(0)
    chosen = choose_frames(Dataset(frames, model.elements), rng, limits.samples)
    comparison = _Comparison(model, chosen, thread_count(threads), rng, limits.mapping)
    expected = [comparison.forces(Potential([scale.direct])) for scale in model.scales]
    forms = []
    with threadpool_limits(1, user_api="blas"):
        for n, (scale, forces) in enumerate(zip(model.scales, expected, strict=True)):
            if tolerance == 0:
                pairs = zip(scale.support, scale.order_weights, strict=True)
                forms.append([exact(s, a, limits.mapping) for s, a in pairs])
            else:
                report = partial(_report, progress, n, len(expected))
                forms.append(_search(model, scale, chosen, tolerances, comparison, forces, report, limits))
    facts = _facts(model, forms, tolerance, comparison, np.sum(expected, axis=0))
    mapped, direct = facts["multiply_adds"], facts["multiply_adds_direct"]
    log(_summary(facts, forms))
    if mapped > direct:
        log(f"The direct kernel is {mapped / direct:.2g} times cheaper: the model stays as it is")
        return model
    scales = [replace(s, mapped=f) for s, f in zip(model.scales, forms, strict=True)]
    return replace(model, scales=scales, info={**model.info, "mapping": facts})


class Ladder(Sequence[Model]):
    """A model with mapped forms of all sizes, the fastest first.

    What takes long is done once. Each rung is the model with a form of its own, whose cost and deviation are in
    `info["mapping"]`.

    Args:
        model, frames, threads, progress, limits: as those of `map_model`, which says what is raised.

    """

    def __init__(
        self,
        model: Model,
        frames: Sequence[Frame],
        threads: int | None = None,
        progress: Callable[[float], None] | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        _refuse(model, frames, 0.0, thread_count(threads), float("inf"), limits)
        self._model, self._limits, rng = model, limits.mapping, np.random.default_rng(0)
        self._thresholds = limits.mapping.thresholds
        chosen = choose_frames(Dataset(frames, model.elements), rng, limits.samples)
        self._comparison = _Comparison(model, chosen, thread_count(threads), rng, limits.mapping)
        self._expected = self._comparison.forces(model.direct.without_repulsion())
        with threadpool_limits(1, user_api="blas"):
            self._forms = []
            for n, scale in enumerate(model.scales):
                report = partial(_report, progress, n, len(model.scales))
                dense = _dense_forms(model, scale, chosen, self._comparison.threads, report, limits)
                most = limits.mapping.features[0]
                self._forms.append([of_element.forms(self._comparison.threads, most) for of_element in dense])
        _report(progress, 0, 1, 1.0)

    def __len__(self) -> int:
        return len(self._thresholds)

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> list[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | list[Model]:
        """Return the model with the form of a rung, or those of several."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        threshold = self._thresholds[index]
        forms = [[rounded(compress(f, threshold)) for f in scale] for scale in self._forms]
        facts = _facts(self._model, forms, 0.0, self._comparison, self._expected)
        facts["tolerance"] = facts["largest_force_deviation"]
        scales = [replace(s, mapped=f) for s, f in zip(self._model.scales, forms, strict=True)]
        return replace(self._model, scales=scales, info={**self._model.info, "mapping": facts})

    def useful(self) -> Iterator[Model]:
        """Every second rung, up to the one whose deviation is a third of the default tolerance, or that is dearer."""
        enough = default_tolerance(self._model, self._limits) / 3
        for k in range(0, len(self), 2):
            rung = self[k]
            yield rung
            facts = rung.info["mapping"]
            if facts["largest_force_deviation"] < enough or facts["multiply_adds"] > facts["multiply_adds_direct"]:
                return

    def within(self, microseconds: float, time_of: Callable[[Model], float]) -> Model:
        """Return the model with the most accurate form that costs no more than some time, without one if that does.

        Args:
            microseconds: that an atom and step may take.
            time_of: a model's time, microseconds, by measurement.

        Raises:
            MappingError: the fastest form takes longer.

        """
        info = {name: value for name, value in self._model.info.items() if name != "mapping"}
        direct = replace(self._model, scales=[replace(s, mapped=None) for s in self._model.scales], info=info)
        if time_of(direct) <= microseconds:
            return direct
        best = largest_threshold(lambda k: time_of(self[len(self) - 1 - k]), len(self), microseconds)
        if best is None:
            least = time_of(self[0])
            raise MappingError(f"no form is within {microseconds:g} µs per atom: the fastest takes {least:.3g}")
        return self[len(self) - 1 - best]


def _summary(facts: dict[str, Any], forms: list[Elements]) -> str:
    """Deviations and cost of the forms, for people."""
    size = sum(f.vectors.nbytes for scale in forms for element in scale for f in element) / 1e6
    return (
        f"Mapped: forces deviate from the direct kernel by up to {facts['largest_force_deviation']:.1e} eV/Å (rms "
        f"{facts['rms_force_deviation']:.1e}), in float32 {facts['largest_force_deviation_float32']:.1e}; "
        f"{facts['multiply_adds'] / 1e3:.0f} thousand multiply-adds per atom instead of "
        f"{facts['multiply_adds_direct'] / 1e3:.0f}; {size:.2g} MB"
    )


def _refuse(
    model: Model, frames: Sequence[Frame], tolerance: float, threads: int, most_seconds: float, limits: Limits
) -> None:
    """Raise the errors that can be known beforehand; see `map_model`."""
    if not model.scales:
        raise MappingError("the model has no energies; dipoles and polarisabilities are always in mapped form")
    order = max(scale.order for scale in model.scales)
    if order > 4:
        raise MappingError(f"kernels of order {order} have no mapped form: only orders 1 to 4 have")
    if not 0 <= tolerance < np.inf:
        raise MappingError(f"the tolerance must be a number that is not negative, not {tolerance}")
    if not frames:
        raise MappingError("mapping needs frames like those of the training set")
    model.check_elements(frames)
    gigabytes, seconds = _predicted(model, threads, limits)
    if seconds > most_seconds:
        raise MappingError(
            f"it would take about {seconds / 60:.0f} min and {gigabytes:.2g} GB; wk-potential map does it nevertheless"
        )


def default_tolerance(model: Model, limits: MappingLimits = DEFAULT.mapping) -> float:
    """A quarter of the expected rms error of forces (eV/Angstrom), within limits; the least if it is unknown."""
    expected = limits.share * expected_forces_error(model)
    return float(np.clip(expected, limits.least_tolerance, limits.most_tolerance))


def _facts(
    model: Model, forms: list[Elements], tolerance: float, comparison: "_Comparison", expected: np.ndarray
) -> dict[str, Any]:
    """What the header says of the forms: their deviations from the expected forces, and their cost."""
    double, single = (
        Potential([s.with_forms(f, p) for s, f in zip(model.scales, forms, strict=True)])
        for p in ("float64", "float32")
    )
    largest, rms = comparison.deviations(double, expected)
    return {
        "tolerance": tolerance,
        "largest_force_deviation": largest,
        "rms_force_deviation": rms,
        "largest_force_deviation_float32": comparison.deviations(single, expected)[0],
        "multiply_adds": round(float(double.costs @ comparison.shares)),
        "multiply_adds_direct": round(float(model.direct.costs @ comparison.shares)),
    }


def _predicted(model: Model, threads: int, limits: Limits) -> tuple[float, float]:
    """Gigabytes and seconds that the forms take, with as few products as may suffice."""
    speeds = limits.speeds
    most = seconds = 0.0
    for scale in model.scales:
        for support in scale.support:
            counts = channel_counts(support)
            blocks = all_blocks(len(counts) - 1, counts)
            squares = sum(float(len(b)) ** 2 for b in blocks)
            products = 2 * len(support) * sum((2 * b.L + 1) * float(len(b)) ** 2 for b in blocks)
            kept = [min(len(b), limits.mapping.features[0]) for b in blocks if b.L <= 2]
            most = max(most, 2 * squares)
            seconds += (
                products / speeds.kernel_products / threads
                + speeds.recoupling * squares
                + speeds.form / threads * sum(n**3 for n in kept)
            )
    return 8e-9 * most, seconds


def _report(progress: Callable[[float], None] | None, n: int, n_scales: int, done: float) -> None:
    """Tell how much is done, of one length scale after the other."""
    if progress:
        progress((n + done) / n_scales)


def _search(
    model: Model,
    scale: Scale,
    data: Dataset,
    tolerances: Sequence[float],
    comparison: "_Comparison",
    expected: np.ndarray,
    progress: Callable[[float], None],
    limits: Limits,
) -> Elements:
    """Return the smallest forms of a scale within its part of a tolerance, by bisection over the threshold.

    The first tolerance that can be kept counts, and then the fewest products.
    """

    def deviation(factors: Elements) -> float:
        return len(model.scales) * comparison.largest(Potential([scale.with_forms(factors)]), expected)

    dense = _dense_forms(model, scale, data, comparison.threads, progress, limits)
    thresholds = limits.mapping.thresholds
    for most in limits.mapping.features:
        forms = []
        for of_element in dense:
            forms.append(of_element.forms(comparison.threads, most))
            progress(0.5 + 0.5 * len(forms) / len(dense))
        at = cache(partial(_deviation_at, forms, deviation, thresholds))
        for tolerance in tolerances:
            if (best := largest_threshold(at, len(thresholds), tolerance)) is not None:
                factors = [compress(of_element, thresholds[best]) for of_element in forms]
                short = [rounded(of_element) for of_element in factors]
                return short if deviation(short) <= tolerance else factors
        if max(len(block) for of_element in dense for block in of_element.blocks) <= most:
            break
    least = at(len(thresholds) - 1)
    raise MappingError(f"no mapped form is within {tolerances[-1]:g} eV/Å: the best has {least:.1e}; take 0 for exact")


def _dense_forms(
    model: Model, scale: Scale, data: Dataset, threads: int, progress: Callable[[float], None], limits: Limits
) -> list[DenseForms]:
    """Forms of each element of a scale, with all products.

    Raises:
        MappingError: an element has no neighbour in the frames.

    """
    samples = draw_samples(data, scale.density, limits=limits.samples)
    alone = [z for z, x in zip(model.elements, samples, strict=True) if not np.any(x.directions)]
    if alone:
        names = ", ".join(chemical_symbols[z] for z in alone)
        raise MappingError(f"no atom of {names} has a neighbour in the frames, so its environments are not known")
    dense = []
    for s, a, x in zip(scale.support, scale.order_weights, samples, strict=True):
        dense.append(DenseForms.of(s, a, x, threads, limits.mapping))
        progress(0.5 * len(dense) / len(samples))
    return dense


def _deviation_at(
    dense: list[list[ExactForm]], deviation: Callable[[Elements], float], thresholds: np.ndarray, k: int
) -> float:
    """Deviation of the forms with the k-th threshold."""
    return deviation([compress(forms, thresholds[k]) for forms in dense])


class _Comparison:
    """Some frames, on which forces are compared, and copies: rattled ones, and with exchanged elements.

    The latter are there where not all elements have met in the frames. Forces may deviate more in them.
    """

    def __init__(
        self, model: Model, data: Dataset, threads: int, rng: np.random.Generator, limits: MappingLimits
    ) -> None:
        self.threads = threads
        self.structures, weights = [], []
        n_atoms, counts, mixtures = 0, np.zeros(len(model.elements)), lacking_mixtures(data)
        for frame in data:
            if n_atoms > limits.measured_atoms:
                break
            copies = with_copies(frame, limits.measured_rattle, mixtures, rng)
            self.structures += [as_arrays(copy, model.elements, model.cutoff) for copy in copies]
            weights += [1.0, 1.0, 1 / limits.unseen_deviation][: len(copies)]
            n_atoms += 2 * len(frame)
            counts += np.bincount(self.structures[-len(copies)].species, minlength=len(counts))
        self.shares = counts / counts.sum()
        self._weights = np.repeat(weights, [3 * len(s.species) for s in self.structures])

    def forces(self, potential: Potential) -> np.ndarray:
        """Return all force components, eV/Angstrom."""
        return np.concatenate([evaluate(potential, s, self.threads)[1].ravel() for s in self.structures])

    def largest(self, potential: Potential, expected: np.ndarray) -> float:
        """Largest deviation of a force component from those expected, eV/Angstrom, less for exchanged elements."""
        return float(np.max(np.abs(self.forces(potential) - expected) * self._weights))

    def deviations(self, potential: Potential, expected: np.ndarray) -> tuple[float, float]:
        """Largest and rms deviation of a force component from those expected, eV/Angstrom, without exchanged ones."""
        errors = (self.forces(potential) - expected)[self._weights == 1.0]
        return float(np.max(np.abs(errors))), float(np.sqrt(np.mean(errors**2)))
