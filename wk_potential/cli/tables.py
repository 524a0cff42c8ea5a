"""Tables of labels, of errors and of what a model is."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np

from ..atoms.dataset import LEFT_ASIDE, label_table
from ..atoms.frame import Frame
from ..atoms.kinds import GPA
from ..model.model import Model
from ..model.scale import Scale
from .screen import Screen

MEASURES = ("mae", "rmse")
_NAMES = {"date": "date", "data_hash": "SHA-256 of the data"}
_NOISE = {"energy": ("energy", "eV/sqrt(atom)"), "forces": ("forces", "eV/Å"), "stress": ("virial", "eV/sqrt(atom)")}
_NOTES = """RMSE: of the errors found; predicted: root mean square of the standard deviations that the model predicts
miscalibration: area between found and predicted fractions of errors within error bars; 0 is best, 0.5 worst
neg. log likelihood: of the errors, taken as normal with the predicted standard deviations; the lower the better
Spearman: rank correlation of errors and error bars; 1 is best, at 0 the error bars say nothing"""
# kind of error: its name, unit, the factor to it and where the number of labels is
_ERRORS = {
    "energy": ("energy", "meV", 1e3, "n_energies"),
    "energy_per_atom": ("energy/atom", "meV", 1e3, "n_energies"),
    "forces": ("forces", "meV/Å", 1e3, "n_forces"),
    "stress": ("stress", "GPa", GPA, "n_stresses"),
    "dipole": ("dipole", "e mÅ", 1e3, "n_dipoles"),
    "polarizability": ("polarizability", "Å³", 1.0, "n_polarizabilities"),
}


def _numbers(table: Mapping[str, Any], kind: str) -> list[str]:
    """MAE and RMSE of a kind of label, in the unit of the table."""
    values = (table[f"{kind}_{measure}"] for measure in MEASURES)
    return ["" if value is None else f"{value * _ERRORS[kind][2]:.4g}" for value in values]


def show_labels(screen: Screen, frames: Sequence[Frame], title: str = "Found in the data") -> None:
    """Print what labels were found, and under which names."""
    rows = []
    for kind, name, n_frames, n_values in label_table(frames):
        count = str(n_frames) if n_frames in (0, len(frames)) else f"{n_frames} of {len(frames)}"
        if kind in ("energy", "forces", "stress", "dipole", "polarizability"):
            rows.append((kind, name if n_frames else "none", count, str(n_values)))
        elif kind == LEFT_ASIDE:
            rows.append((kind, name, count, ""))
        elif kind != "config_type" or name:
            rows.append((kind, name, count, f"{n_values} atoms"))
    notes = (
        "name: of the labels in the files, or what was found; frames: how many have it; values: how many numbers; "
        "left aside: not used in training"
    )
    screen.table(title, ("", "name", "frames", "values"), rows, notes)


def show_errors(screen: Screen, table: Mapping[str, Any], title: str) -> None:
    """Print the errors that `wk_potential.analysis.evaluation.errors` found."""
    kinds = [kind for kind in _ERRORS if table[f"{kind}_mae"] is not None]
    rows = [[_ERRORS[k][0], _ERRORS[k][1], *_numbers(table, k), str(table[_ERRORS[k][3]])] for k in kinds]
    notes = "MAE: mean absolute error; RMSE: root mean square error; values: how many numbers were compared"
    screen.table(title, ("", "unit", "MAE", "RMSE", "values"), rows, notes)
    if elements := table["forces_by_element"]:
        rows = [[symbol, *_numbers(e, "forces"), str(e["n_atoms"])] for symbol, e in elements.items()]
        screen.table("Forces by element, meV/Å", ("", "MAE", "RMSE", "atoms"), rows)
    types = table["by_config_type"]
    if set(types) != {""}:
        kinds = [kind for kind in kinds if kind != "energy"]
        rows = [
            [name or "(none)", str(e["n_frames"]), *(text for k in kinds for text in _numbers(e, k))]
            for name, e in types.items()
        ]
        units = ", ".join(f"{_ERRORS[k][0]} in {_ERRORS[k][1]}" for k in kinds)
        heads = [f"{_ERRORS[k][0]} {measure.upper()}" for k in kinds for measure in MEASURES]
        screen.table(f"By config_type: {units}", ("", "frames", *heads), rows)


def show_reliability(screen: Screen, table: Mapping[str, Any]) -> None:
    """Print what `wk_potential.analysis.reliability.reliability` found."""
    rows = []
    for kind, found in table.items():
        name, unit, factor, _ = _ERRORS[kind]
        measures = (found[m] for m in ("miscalibration_area", "negative_log_likelihood", "spearman"))
        sizes = (f"{found[m] * factor:.4g}" for m in ("rmse", "rms_std"))
        rows.append([name, unit, *sizes, *("" if m is None else f"{m:.3f}" for m in measures)])
    heads = ("", "unit", "RMSE", "predicted", "miscalibration", "neg. log likelihood", "Spearman")
    screen.table("Error bars", heads, rows, _NOTES)


def _list(values: Any, form: str = ".4g") -> str:
    if isinstance(values, Mapping):
        return ", ".join(f"{k} {_list(v, form)}" for k, v in values.items())
    if isinstance(values, list | tuple):
        return ", ".join(_list(v, form) for v in values)
    return f"{values:{form}}" if isinstance(values, float) else str(values)


def show_model(screen: Screen, model: Model, title: str) -> None:
    """Print what a model is and what it was trained on."""
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[z] for z in model.elements]
    rows = [("elements", " ".join(symbols))]
    rows += _energy_facts(model, symbols) if model.scales else [("energy", "none")]
    screen.facts(title, [*rows, *_tensor_facts(model), *_training_facts(model.info)])


def _energy_facts(model: Model, symbols: list[str]) -> list[tuple[str, str]]:
    """What the energy is made of."""
    counts = {s: int(n) for s, n in zip(symbols, model.support_counts, strict=True)}
    tangents = model.scales[0].support[0].tangents is not None
    explicit = model.info.get("training", {}).get("explicit_functions", 0)
    baseline = {s: float(e) for s, e in zip(symbols, model.baseline, strict=True)}
    determined = len(model.compositions) == len(symbols)
    return [
        *((f"kernel to {scale.density.radial.cutoff:g} Å", _kernel(scale)) for scale in model.scales),
        *((f"weights to {scale.density.radial.cutoff:g} Å", _weights(scale, symbols)) for scale in model.scales),
        (
            "support points",
            f"{sum(counts.values())} environments to compare with ({_list(counts)})"
            + (", and the forces in them" if tangents else "")
            + (f"; some of them stand for {explicit} functions of pairs and angles" if explicit else ""),
        ),
        ("mapped form", _mapped(model)),
        ("error bars", "none" if model.uncertainty is None else "calibrated on left-out frames"),
        ("repulsion", _repulsion(model, symbols)),
        *([] if (below := model.baseline_potential) is None else [("baseline potential", below.description)]),
        (
            "baseline",
            f"{_list(baseline, '.4f')} eV per atom"
            + ("" if determined else "; valid for the compositions of the training frames only")
            + ("; nothing is known of atoms far apart" if _fitted(model) else ""),
        ),
    ]


def _fitted(model: Model) -> bool:
    """Whether the baseline is fitted, and not that of isolated atoms."""
    return str(model.info.get("baseline", {}).get("origin", "")).startswith("least squares")


def _tensor_facts(model: Model) -> list[tuple[str, str]]:
    """Kernels of dipole and polarisability and their expected errors."""
    rows = []
    for name, target in model.tensors.items():
        cutoffs = ", ".join(f"{density.radial.cutoff:g}" for density in target.densities)
        facts = model.info.get("training", {}).get("tensors", {}).get(name, {"ranks": {}})
        errors = [
            f"leave-one-out RMSE {r['leave_one_out_rmse']:.3g} {facts['unit']} (angular momentum {momentum})"
            for momentum, r in facts["ranks"].items()
        ]
        bars = "error bars calibrated on left-out frames" if target.has_error_bars else "no error bars"
        rows.append((name, "; ".join([f"kernels to {cutoffs} Å", *errors, bars])))
    return rows


def _kernel(scale: Scale) -> str:
    density = scale.density
    return (
        f"lmax {density.lmax}, order {scale.order}, {density.projection.shape[3]} channels: largest angular momentum, "
        "correlation order of the kernel, radial functions of the density"
    )


def _weights(scale: Scale, symbols: list[str]) -> str:
    """Order weights, those of each element if they differ."""
    rows = scale.order_weights
    orders = f" for the correlation orders 1 to {scale.order} of the kernel"
    if np.all(rows == rows[0]):
        return _list([float(a) for a in rows[0]]) + orders
    return "; ".join(f"{s} {_list([float(a) for a in row])}" for s, row in zip(symbols, rows, strict=True)) + orders


def _repulsion(model: Model, symbols: list[str]) -> str:
    """Outer radius of each pair."""
    if model.repulsion is None:
        return "none"
    pairs = combinations_with_replacement(range(len(symbols)), 2)
    radii = (f"{symbols[a]}-{symbols[b]} {model.repulsion.outer[a, b]:.2f}" for a, b in pairs)
    return f"Ziegler-Biersack-Littmark potential between atoms closer than {', '.join(radii)} Å"


def _mapped(model: Model) -> str:
    if not model.is_mapped:
        return "none: the energy is a sum over the support points"
    facts = model.info.get("mapping", {})
    if not facts:
        return "yes"
    gain = facts["multiply_adds_direct"] / facts["multiply_adds"]
    return (
        f"quadratic forms, {gain:.3g} times fewer operations than the support points; forces differ by up to "
        f"{facts['largest_force_deviation']:.1e} eV/Å"
    )


def _training_facts(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the header says of the training, as far as it does."""
    rows = []
    training = info.get("training", {})
    if noise := info.get("hyperparameters", {}).get("noise"):
        named = ((*_NOISE.get(kind, (kind, "")), value) for kind, value in noise.items())
        found = (f"{name} {value:.4g} {unit}".rstrip() for name, unit, value in named)
        rows.append(("noise", f"{', '.join(found)}: errors of the labels that the fit allows for"))
    if "frames" in training:
        labels = ", ".join(f"{kind} {n}" for kind, n in training.get("labels", {}).items() if n)
        rows.append(
            ("trained on", f"{training['frames']} frames" + (f"; number of labels: {labels}" if labels else ""))
        )
    rows += [(_error_name(name), _error(name, value)) for name, value in training.get("errors", {}).items()]
    rows += [(label, str(training[name])) for name, label in _NAMES.items() if name in training]
    if "package_version" in info:
        rows.append(("made by", f"wk_potential {info['package_version']}"))
    return rows


def _error_name(name: str) -> str:
    """Name an error of the header: `leave_one_out_energy_per_atom_mae` is the leave-one-out MAE of energy/atom."""
    for method in ("leave_one_out", "cross_validation", "training", "validation"):
        if name.startswith(f"{method}_"):
            what, _, measure = name.removeprefix(f"{method}_").rpartition("_")
            kind = what.replace("_per_sqrt_atom", "/sqrt(atom)").replace("_per_atom", "/atom").replace("_", " ")
            return f"{method.replace('_', '-')} {measure.upper()}, {kind}"
    return name.replace("_", " ")


def _error(name: str, value: Any) -> str:
    """An error in a readable unit; its name says what of."""
    if not isinstance(value, float):
        return str(value)
    for kind, unit in (("force", "meV/Å"), ("energy", "meV"), ("virial", "meV")):
        if kind in name:
            return f"{1e3 * value:.4g} {unit}"
    return f"{GPA * value:.4g} GPa" if "stress" in name else f"{value:.4g}"


def show_run(screen: "Screen", summary: Any, run: Any, files: list[Path]) -> None:
    """Print how a run went."""
    per_day = 86400 / summary.seconds_per_step * run.timestep * 1e-6
    speed = f"{1e3 * summary.seconds_per_step:.3g} ms per step, {per_day:.3g} ns per day"
    rows = [("steps", f"{summary.steps}, to a time of {summary.time:g} ps"), ("speed", speed)]
    rows.append(("temperature", f"{summary.temperature:.1f} K on average over the second half"))
    if run.ensemble == "nve":
        rows.append(("drift", f"{1e3 * summary.drift:.2g} meV per atom and ps (slope of the total energy)"))
    if summary.volume is not None:
        rows.append(("volume", f"{summary.volume:.3f} Å³ on average over the second half"))
    rows.append(("written", ", ".join(map(str, files))))
    screen.facts("Done", rows)
