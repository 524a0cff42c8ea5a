"""What a sound model file holds, checked before compiled code sees any of it.

Compiled functions do not check indices. All that they assume of a file is written here and in `model.header`:
`docs/model-file.md` says it for people. What is not described here is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pydantic import ValidationError

from ..atoms.validation import problems
from ..compute.simd import WIDTH
from ..density.radial import grid_size
from ..errors import ModelFileError
from .container import read_container
from .header import LARGEST_ORDER, Blocks, DensityEntry, FormsEntry, Header, PartEntry, ScaleEntry, TensorEntry
from .novelty import n_components

PARTS = {"dipole": (1,), "polarizability": (0, 2)}  # angular momenta of a tensor
ANY, NOT_NEGATIVE = (-1e30, 1e30), (0.0, 1e30)  # numbers of a sound model, whatever their unit
COEFFICIENT = -1e8, 1e8  # of the density, which is scaled to about 1
ROUNDING = 1e-6


class _Arrays:
    """The arrays of a file. Each is taken once; what is left at the end belongs to no part of the model."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays, self.left = arrays, set(arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def take(
        self, name: str, *shape: int | None, bounds: tuple[float, float] = ANY, types: Sequence[str] = ("<f8",)
    ) -> np.ndarray:
        """Return an array of a shape, None standing for any length, whose numbers are finite and within bounds."""
        require(name in self._arrays, name, "is missing")
        array = self._arrays[name]
        self.left.discard(name)
        if array.dtype.newbyteorder("<").str not in types:
            wanted = " or ".join(np.dtype(kind).name for kind in types)
            raise ModelFileError(f"{name} has the type {array.dtype}, not {wanted}")
        fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if not fits:
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            raise ModelFileError(f"{name} has the shape {' x '.join(map(str, array.shape))}, not {wanted}")
        # not a number is neither above nor below
        fits = not array.size or bool(array.min() >= bounds[0] and array.max() <= bounds[1])
        require(fits, name, f"holds numbers that are not from {bounds[0]:g} to {bounds[1]:g}")
        return array


def require(condition: bool, name: str, what: str) -> None:
    """Raise `ModelFileError` unless a condition holds for a field or an array."""
    if not condition:
        raise ModelFileError(f"{name} {what}")


def _check_columns(name: str, array: np.ndarray) -> None:
    """Check that the columns of an array fill vectors of the processor."""
    whole = array.shape[1] > 0 and array.shape[1] % WIDTH == 0
    require(whole, name, f"has {array.shape[1]} columns, not a multiple of {WIDTH}")


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a model file that passes all checks.

    Raises:
        ModelFileError: as `read_container` and `check`, with the name of the file.

    """
    header, arrays = read_container(path)
    try:
        check(header, arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}; copy or make it again") from None
    return header, arrays


def check(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Check the content of a model file.

    Args:
        header: as read from JSON.
        arrays: as read from the file.

    Raises:
        ModelFileError: what is wrong, by the name of the field or array, without that of the file.

    """
    try:
        facts = Header.model_validate(header)
    except ValidationError as error:
        raise ModelFileError(f"the header is wrong in {problems(error)}") from None
    found = _Arrays(arrays)
    elements = found.take("elements", None, types=["<i8"], bounds=(1, 118))
    n = len(elements)
    require(n > 0 and bool(np.all(np.diff(elements) > 0)), "elements", "are not different and in ascending order")
    require(bool(facts.scales or facts.tensors), "scales", "and tensors are empty")
    _check_baseline(facts, found, elements)
    channels = [_check_scale(found, k, entry, n) for k, entry in enumerate(facts.scales)]
    for k in range(1, len(channels)):
        same = np.array_equal(arrays[f"scale{k}_support_counts"], arrays["scale0_support_counts"])
        require(same, f"scale{k}_support_counts", "are not those of scale0")
        same = arrays[f"scale{k}_order_weights"].shape == arrays["scale0_order_weights"].shape
        require(same, f"scale{k}_order_weights", "have another shape than those of scale0")
    for name, tensor in facts.tensors.items():
        _check_tensor(found, name, tensor, n, _written(facts, "members"))
    cutoffs = [entry.cutoff for entry in facts.scales]
    cutoffs += [density.cutoff for tensor in facts.tensors.values() for density in tensor.densities]
    require(facts.cutoff == max(cutoffs), "cutoff", f"is {facts.cutoff:g}, but that of the densities {max(cutoffs):g}")
    _check_repulsion(found, elements, facts.cutoff)
    if facts.uncertainty is not None:
        require(len(facts.scales) > 0, "uncertainty", "belongs to a model without energies")
        _check_uncertainty(facts, found, n, channels)
    _check_remarks(facts, arrays, n)
    require(not found.left, ", ".join(sorted(found.left)[:5]), "belong to no part of the model")


def _check_baseline(facts: Header, found: _Arrays, elements: np.ndarray) -> None:
    n, symbols = len(elements), [chemical_symbols[z] for z in elements]
    baseline = found.take("baseline", n)
    basis = found.take("compositions", None, n)
    gram = basis @ basis.T
    require(
        len(basis) <= n and np.allclose(gram, np.eye(len(basis)), atol=ROUNDING), "compositions", "are not orthonormal"
    )
    require(facts.elements in (None, symbols), "elements", f"of the header are not {', '.join(symbols)}")
    if facts.baseline is not None and facts.baseline.energies is not None:
        own = dict(zip(symbols, baseline.tolist(), strict=True))
        require(facts.baseline.energies == own, "baseline", "of the header is not that of the array")


def _check_density(found: _Arrays, prefix: str, entry: DensityEntry, n: int) -> int:
    """Check the arrays of a density of n elements; return the number of its channels."""
    size = grid_size(entry.cutoff)
    values = found.take(f"{prefix}radial_values", size, entry.lmax + 1, None, bounds=COEFFICIENT)
    slopes = found.take(f"{prefix}radial_slopes", *values.shape)
    flat = values.reshape(size, -1)
    require(flat.shape[1] > 0, f"{prefix}radial_values", "is empty")
    require(not flat[-1].any(), f"{prefix}radial_values", "do not vanish at the cutoff")
    # the equations of a cubic spline on a uniform grid
    rise, s = 3 * (flat[2:] - flat[:-2]) * (size - 1) / entry.cutoff, slopes.reshape(size, -1)
    error = np.abs(s[2:] + 4 * s[1:-1] + s[:-2] - rise).max(initial=np.abs(s[-1]).max())
    require(error <= ROUNDING * max(1.0, np.abs(s).max()), f"{prefix}radial_slopes", "are no slopes of the values")
    projection = found.take(f"{prefix}projection", n, entry.lmax + 1, n * values.shape[2], None, bounds=COEFFICIENT)
    require(projection.shape[3] > 0, f"{prefix}projection", "has no channels")
    return int(projection.shape[3])


def _check_scale(found: _Arrays, k: int, entry: ScaleEntry, n: int) -> int:
    """Check the arrays of a length scale; return the number of its channels."""
    prefix = f"scale{k}_"
    channels = _check_density(found, prefix, entry, n)
    order_weights = found.take(f"{prefix}order_weights", n, None, bounds=NOT_NEGATIVE)
    require(1 <= order_weights.shape[1] <= LARGEST_ORDER, f"{prefix}order_weights", f"are not 1 to {LARGEST_ORDER}")
    counts = found.take(f"{prefix}support_counts", n, types=["<i8"], bounds=NOT_NEGATIVE)
    weights = found.take(f"{prefix}support_weights", None)
    require(int(counts.sum()) == len(weights), f"{prefix}support_counts", f"do not add up to {len(weights)}")
    shape = len(weights), (entry.lmax + 1) ** 2, channels
    found.take(f"{prefix}support_coefficients", *shape)
    if f"{prefix}support_tangents" in found:
        found.take(f"{prefix}support_tangents", *shape)
    if entry.mapped_blocks is not None:
        _check_forms(found, prefix, f"scales.{k}.mapped_blocks", entry.mapped_blocks, n, entry.lmax, channels)
    return channels


def _check_forms(
    found: _Arrays, prefix: str, field: str, blocks: Blocks, n: int, lmax: int, channels: int
) -> list[list[tuple[int, int]]]:
    """Check forms of a density with `channels` channels; return angular momentum and rank of each element's blocks."""
    pairs = found.take(f"{prefix}mapped_pairs", None, 2, types=["<i2"], bounds=(0, channels - 1))
    layout: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    most = 2 * (lmax + 1) * n
    require(len(blocks) <= most, field, f"has {len(blocks)} blocks, of which there are at most {most}")
    n_vectors = n_values = 0
    all_products: list[tuple[int, int]] = []
    last = (0, -1, -1)
    for k, (element, big_l, constant, singles, rank, groups) in enumerate(blocks):
        name = f"{field}.{k}"
        require(element < n, name, f"is of element {element} of {n}")
        require(big_l <= lmax, name, f"has L = {big_l}, with lmax = {lmax}")
        require(singles <= channels, name, f"has {singles} of {channels} channels")
        momenta = [(l1, l2) for l1, l2, _ in groups]
        _check_momenta(name, momenta, big_l, lmax)
        odd = any((l1 + l2 + big_l) % 2 for l1, l2 in momenta)
        empty = not (constant or singles or groups)
        require(constant == int(big_l == 0 and not odd) or empty, name, "has a constant wrongly, or lacks it")
        require(not (odd and singles), name, "has single coefficients, but is of pseudotensors")
        place = (element, int(odd), big_l)
        require(place > last or empty, name, "is not in its place: blocks are sorted by element, parity and L")
        require(not (empty and rank), name, "has factors, but no features")
        last = last if empty else place
        products = [(count, big_l % 2 if l1 == l2 else -channels) for l1, l2, count in groups]
        n_vectors += rank * (constant + singles + sum(count for count, _ in products))
        n_values += rank
        layout[element].append((big_l, rank))
        all_products += products
    _check_pairs(f"{prefix}mapped_pairs", pairs, all_products, channels)
    found.take(f"{prefix}mapped_vectors", n_vectors, types=["<f4", "<f8"])
    found.take(f"{prefix}mapped_values", n_values)
    return layout


def _check_pairs(name: str, pairs: np.ndarray, products: list[tuple[int, int]], channels: int) -> None:
    """Check the channels of products: those of each group differ and are sorted.

    Args:
        name: of the array.
        pairs: (n, 2) channels.
        products: for each group the number of its products, and by how much the second channel is above the first.
        channels: of the density.

    """
    counts = np.array([count for count, _ in products], np.int64)
    require(int(counts.sum()) == len(pairs), name, f"are {len(pairs)}, but the blocks hold {counts.sum()}")
    q1, q2 = pairs.astype(np.int64).T
    # each group's keys are above those of the group before
    keys = (np.repeat(np.arange(len(counts)), counts) * channels + q1) * channels + q2
    sound = np.all(np.diff(keys) > 0) and np.all(q2 - q1 >= np.repeat([least for _, least in products], counts))
    require(bool(sound), name, "repeat or are not sorted")


def _check_momenta(name: str, momenta: Sequence[tuple[int, int]], big_l: int, lmax: int) -> None:
    """Check the angular momenta of the products in a block."""
    for l1, l2 in momenta:
        coupled = l1 <= l2 <= lmax and l2 - l1 <= big_l <= l1 + l2
        require(coupled, name, f"couples l = {l1} and {l2} to L = {big_l}, with lmax = {lmax}")
    require(len({(l1 + l2) % 2 for l1, l2 in momenta}) < 2, name, "mixes both parities")
    require(list(momenta) == sorted(set(momenta)), name, "holds groups that repeat or are not sorted")


def _check_repulsion(found: _Arrays, elements: np.ndarray, cutoff: float) -> None:
    if not any(name.startswith("repulsion_") for name in found.left):
        return
    n = len(elements)
    charges = found.take("repulsion_charges", n)
    require(np.array_equal(charges, elements), "repulsion_charges", "are not those of the elements")
    outer = found.take("repulsion_outer", n, n, bounds=(0, cutoff))
    inner = found.take("repulsion_inner", n, n, bounds=NOT_NEGATIVE)
    require(np.array_equal(outer, outer.T), "repulsion_outer", "is not symmetric")
    require(np.array_equal(inner, inner.T), "repulsion_inner", "is not symmetric")
    require(bool(np.all(inner < outer)), "repulsion_inner", "is not below repulsion_outer")


def _written(facts: Header, name: str) -> int | None:
    """A constant of the error bars that training has written down, None if it has not."""
    error_bars = (facts.limits or {}).get("error_bars", {})
    return error_bars.get(name) if isinstance(error_bars, dict) else None


def _check_uncertainty(facts: Header, found: _Arrays, n: int, channels: Sequence[int]) -> None:
    own = facts.uncertainty
    assert own is not None
    require(own.channels > 0, "uncertainty.channels", "is 0")
    same = len(own.blocks) == len(facts.scales)
    require(same, "uncertainty.blocks", f"has {len(own.blocks)} parts for {len(facts.scales)} scales")
    n_features = 0
    for k, (blocks, scale, kept) in enumerate(zip(own.blocks, facts.scales, channels, strict=True)):
        prefix, lmax = f"uncertainty_forms{k}_", min(own.lmax, scale.lmax)
        layout = _check_forms(found, prefix, f"uncertainty.blocks.{k}", blocks, n, lmax, min(own.channels, kept))
        n_features += sum(rank for of_element in layout for _, rank in of_element)
    members = found.take("uncertainty_members", n_features, _written(facts, "members"))
    probes = found.take("uncertainty_probes", n_features, _written(facts, "probes"))
    _check_columns("uncertainty_members", members)
    _check_columns("uncertainty_probes", probes)
    found.take("uncertainty_centres", n, probes.shape[1])
    largest = found.take("uncertainty_largest", n, bounds=NOT_NEGATIVE)
    require(bool(np.all(largest > 0)), "uncertainty_largest", "holds a zero")
    found.take("uncertainty_calibration", 5, bounds=NOT_NEGATIVE)
    # older files lack it
    if "uncertainty_closest" in found or facts.limits is not None:
        closest = found.take("uncertainty_closest", n, n, bounds=(0, facts.cutoff))
        require(np.array_equal(closest, closest.T), "uncertainty_closest", "is not symmetric")
    if "uncertainty_nearest" in found or _written(facts, "bonds") is not None:
        nearest = found.take("uncertainty_nearest", n, _written(facts, "bonds"), bounds=NOT_NEGATIVE)
        farthest = found.take("uncertainty_farthest", *nearest.shape, bounds=NOT_NEGATIVE)
        require(bool(np.all(nearest <= farthest)), "uncertainty_nearest", "is above uncertainty_farthest")
    if "uncertainty_references" in found or _written(facts, "references") is not None:
        _check_references(found, n, facts.scales[0].lmax, min(own.channels, channels[0]))


def _check_references(found: _Arrays, n: int, lmax: int, channels: int) -> None:
    references = found.take("uncertainty_references", None, None)
    widths = [n_components(l, channels) for l in range(lmax + 1)]
    right = references.shape[1] in widths
    require(right, "uncertainty_references", f"have {references.shape[1]} columns, not one of {widths}")
    species = found.take("uncertainty_reference_species", len(references), types=["<i8"], bounds=(0, n - 1))
    require(bool(np.all(np.diff(species) >= 0)), "uncertainty_reference_species", "are not in ascending order")
    found.take("uncertainty_novel", n, bounds=NOT_NEGATIVE)


def _check_tensor(found: _Arrays, name: str, tensor: TensorEntry, n: int, n_members: int | None) -> None:
    channels = [
        _check_density(found, f"tensor_{name}_density{k}_", entry, n) for k, entry in enumerate(tensor.densities)
    ]
    momenta = tuple(part.momentum for part in tensor.parts)
    require(momenta == PARTS[name], f"tensors.{name}.parts", f"have the angular momenta {momenta}, not {PARTS[name]}")
    for k, part in enumerate(tensor.parts):
        prefix = f"tensor_{name}_rank{part.momentum}_"
        _check_part(found, f"tensors.{name}.parts.{k}", prefix, tensor, part, n, channels, n_members)


def _check_part(
    found: _Arrays, field: str, prefix: str, tensor: TensorEntry, part: PartEntry, n: int, channels: Sequence[int],
    n_members: int | None,
) -> None:  # fmt: skip
    baseline = found.take(f"{prefix}baseline", n)
    require(part.momentum == 0 or not baseline.any(), f"{prefix}baseline", "is not zero")
    lmax = [density.lmax for density in tensor.densities]
    _check_bilinear(found, f"{field}.forms", prefix, part.momentum, part.forms, n, lmax, channels)
    if (spread := part.spread) is None:
        return
    require(spread.channels > 0, f"{field}.spread.channels", "is 0")
    kept = [min(spread.channels, own) for own in channels]
    coarse = [min(spread.lmax, own) for own in lmax]
    prefix += "spread_"
    rows = _check_bilinear(found, f"{field}.spread.forms", prefix, part.momentum, spread.forms, n, coarse, kept)
    _check_columns(f"{prefix}members", found.take(f"{prefix}members", rows, n_members))


def _check_bilinear(
    found: _Arrays, field: str, prefix: str, momentum: int, forms: Sequence[FormsEntry], n: int, lmax: Sequence[int],
    channels: Sequence[int],
) -> int:  # fmt: skip
    """Check the bilinear forms of each density; return the number of their terms."""
    require(len(forms) == len(lmax), field, f"has {len(forms)} parts for {len(lmax)} densities")
    n_terms = 0
    for k, entry in enumerate(forms):
        own, name = f"{prefix}scale{k}_", f"{field}.{k}"
        layout = _check_forms(found, own, f"{name}.blocks", entry.blocks, n, lmax[k], channels[k])
        n_cores, last = 0, (0, -1, -1)
        for j, (element, left, right, rows, columns) in enumerate(entry.couplings):
            place = f"{name}.couplings.{j}"
            require(element < n and max(left, right) < len(layout[element]), place, "is of a block that is not there")
            (l1, rank1), (l2, rank2) = layout[element][left], layout[element][right]
            require(abs(l1 - l2) <= momentum <= l1 + l2, place, f"couples L = {l1} and {l2} to {momentum}")
            require(rows * columns > 0 and (rows, columns) == (rank1, rank2), place, "has a core of another size")
            require((element, left, right) > last, place, "repeats or is not in its place")
            n_cores, n_terms, last = n_cores + rows * columns, n_terms + rows, (element, left, right)
        found.take(f"{own}cores", n_cores)
    return n_terms


def _check_remarks(facts: Header, arrays: dict[str, np.ndarray], n: int) -> None:
    """Check that what the header tells people agrees with the arrays."""
    own = facts.hyperparameters
    if own is not None and own.order_weights is not None:
        stored = [arrays[f"scale{k}_order_weights"].tolist() for k in range(len(facts.scales))]
        require(own.order_weights == stored, "hyperparameters.order_weights", "are not those of the arrays")
    for k, scale in enumerate(facts.scales if facts.options is not None else []):
        used: dict[str, float] = {"lmax": scale.lmax, "saturation": scale.saturation}
        used["order"] = arrays[f"scale{k}_order_weights"].shape[1]
        used["short_cutoff" if k else "cutoff"] = scale.cutoff
        for name, value in used.items():
            given = (facts.options or {}).get(name, value) or 0
            require(given == value, f"options.{name}", f"is {given}, but scales.{k} has {value}")
    wanted, methods = (facts.options or {}).get("baseline"), facts.baseline.methods if facts.baseline else []
    require(wanted is None or bool(methods), "baseline.methods", f"lack {wanted}, which the options name")
    training = facts.training
    if training is None:
        return
    exact = training.estimator == "full" and training.labels.get("forces", 0) + training.labels.get("stress", 0) > 0
    for k in range(len(facts.scales) if training.estimator is not None and training.labels else 0):
        name = f"scale{k}_support_tangents"
        require((name in arrays) == exact, name, "belongs to the full estimator with forces, and to nothing else")
    if training.support_points is not None and facts.scales:
        n_points = len(arrays["scale0_support_weights"])
        agree = training.support_points == n_points
        require(agree, "training.support_points", f"is {training.support_points}, but the arrays hold {n_points}")
    for name, remarks in training.tensors.items():
        require(name in facts.tensors, f"training.tensors.{name}", "is of a tensor that the model has not")
        densities = len(facts.tensors[name].densities)
        for momentum, row in remarks.ranks.items():
            weights = row.order_weights
            sizes = {len(of_element) for of_scale in weights for of_element in of_scale}
            fits = len(weights) == densities and all(len(x) == n for x in weights) and len(sizes) == 1
            field = f"training.tensors.{name}.ranks.{momentum}.order_weights"
            require(fits and sizes <= set(range(1, LARGEST_ORDER + 1)), field, "have another shape than the model")
