"""Infrared and Raman spectra of trajectories, by autocorrelation, and harmonic ones, by analytic derivatives.

Infrared: molar absorption A in km/mol per cm^-1; the integral of a band is its intensity,

    A(k) = N_A / (12 eps0 c^2 k_B T) S(k),    S(k) = 4 c int_0^inf w(t) <d(0) . d(t)> cos(2 pi c k t) dt,

where d is the time derivative of the dipole and w the Blackman window, whose side lobes hold 0.1 % of a line. The
formula contains the harmonic quantum correction beta hbar omega / (1 - exp(-beta hbar omega)). With it the bands of
harmonic modes have their quantum intensities at any temperature. Raman: the same formula for the polarisability, as the
activity 45 a'^2 + 7 gamma'^2 in Angstrom^4/amu per cm^-1. It does not contain the factors of laser and temperature of
an experiment, (nu_0 - nu)^4 / (nu (1 - exp(-h nu / k_B T))).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms, units
from scipy import constants
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import find_peaks

from ..atoms.neighbours import find_neighbours
from ..compute.threads import run_threads, thread_count
from ..errors import SpectrumError, UnknownElementError
from ..model.model import Model

LIGHT = constants.c * 100e-15  # cm/fs
# km/mol for (e Angstrom)^2 / (Angstrom^2 amu): N_A e^2 / (12 eps0 c^2 amu)
INTENSITY = constants.N_A * constants.e**2 / (12 * constants.epsilon_0 * constants.c**2 * constants.atomic_mass) * 1e-3
# amu (Angstrom/fs)^2 in eV
KINETIC = constants.atomic_mass * 1e10 / constants.e
STRETCH = 4500.0  # cm^-1: above the vibrations of hydrogen
WINDOW_WIDTH = 1.175  # full width at half maximum of the window's transform, in units of 1 / t_max
SMALLEST = 1e-9  # setting of a spectrum
LEAST_PEAK = 0.01  # of the highest band


@dataclass(frozen=True)
class Spectrum:
    """Spectra of a trajectory.

    Attributes:
        wavenumbers: (n,) cm^-1.
        infrared: (n,) km/mol per cm^-1, or None without dipoles.
        raman: (n,) Angstrom^4/amu per cm^-1, or None without polarisabilities.
        temperature: K, used in the prefactors.

    """

    wavenumbers: np.ndarray
    infrared: np.ndarray | None
    raman: np.ndarray | None
    temperature: float


@dataclass(frozen=True)
class HarmonicSpectrum:
    """Normal modes of a structure at rest.

    Attributes:
        wavenumbers: (3 N,) cm^-1, ascending; imaginary ones are negative.
        infrared: (3 N,) km/mol, or None without dipoles.
        raman: (3 N,) Angstrom^4/amu, or None without polarisabilities.
        modes: (3 N, N, 3) displacements, 1/sqrt(amu): with the masses' roots they are orthonormal.

    """

    wavenumbers: np.ndarray
    infrared: np.ndarray | None
    raman: np.ndarray | None
    modes: np.ndarray


def predict_targets(
    model: Model, frames: Sequence[Atoms], threads: int | None = None, progress: Callable[[float], None] | None = None
) -> dict[str, np.ndarray]:
    """Dipoles (n, 3) and polarisabilities (n, 3, 3) of frames, those that the model has.

    Raises:
        SpectrumError: the model has neither.
        UnknownElementError: an element is not in the model.

    """
    if not model.tensors:
        raise SpectrumError("the model has neither dipole nor polarisability; train one with --dipole-key")

    def predict(number: int) -> list[np.ndarray]:
        atoms = frames[number]
        neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
        try:
            structure = model.structure(atoms.numbers, atoms.positions, atoms.cell.array, neighbours)
        except UnknownElementError as error:
            raise UnknownElementError(f"frame {number}: {error}") from None
        if progress is not None:
            progress(1 / len(frames))
        return [target.predict(structure).sum(axis=0) for target in model.tensors.values()]

    found = run_threads(predict, range(len(frames)), thread_count(threads))
    return {name: np.array([values[k] for values in found]) for k, name in enumerate(model.tensors)}


def correlation_spectrum(series: np.ndarray, interval: float, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (n,) in cm^-1 and S (n,) of the time derivative of a series, summed over its components.

    The integral of S over all wavenumbers is the mean square of the derivative, per fs^2.

    Args:
        series: (n_frames, ...).
        interval: fs between frames.
        resolution: cm^-1, full width at half maximum of a sharp line; it sets the longest time.

    Raises:
        SpectrumError: the trajectory is too short for the resolution.

    """
    steps = np.diff(np.reshape(series, (len(series), -1)), axis=0) / interval
    longest = int(np.ceil(WINDOW_WIDTH / (LIGHT * resolution * interval)))
    if longest >= len(steps):
        raise SpectrumError(
            f"{len(series)} frames, {interval:g} fs apart, are too short for a resolution of {resolution:g} cm^-1, "
            f"which needs more than {longest + 1}: run longer or set a coarser resolution"
        )
    size = next_fast_len(2 * len(steps))
    power = np.sum(np.abs(rfft(steps, size, axis=0)) ** 2, axis=1)
    correlation = irfft(power, size)[:longest] / (len(steps) - np.arange(longest))
    phase = np.pi * np.arange(longest) / longest
    correlation *= 0.42 + 0.5 * np.cos(phase) + 0.08 * np.cos(2 * phase)
    points = next_fast_len(16 * longest)
    padded = np.zeros(points)
    padded[:longest] = correlation
    padded[points - longest + 1 :] = correlation[:0:-1]  # even in time
    wavenumbers = np.arange(points // 2 + 1) / (LIGHT * interval * points)
    # finite differences reduce the spectrum of the derivative by sinc^2
    spectrum = 2 * LIGHT * interval * rfft(padded).real / np.sinc(wavenumbers * LIGHT * interval) ** 2
    return wavenumbers, spectrum


def check_settings(interval: float, temperature: float, resolution: float) -> None:
    """Refuse settings of a spectrum that make no sense; arguments as of `spectrum`.

    Raises:
        SpectrumError: one of them is not a positive number.

    """
    settings = {"time between frames": interval, "temperature": temperature, "resolution": resolution}
    for name, value in settings.items():
        if not SMALLEST <= value <= 1 / SMALLEST:
            raise SpectrumError(f"the {name} must be a positive number, not {value:g}")


def spectrum(targets: dict[str, np.ndarray], interval: float, temperature: float, resolution: float = 10.0) -> Spectrum:
    """Spectra of dipoles (n, 3) and polarisabilities (n, 3, 3) of frames that are `interval` fs apart.

    Args:
        targets: by name, as `predict_targets` returns them.
        interval: fs.
        temperature: K.
        resolution: cm^-1.

    Raises:
        SpectrumError: a setting makes no sense, or the trajectory is too short for the resolution.

    """
    check_settings(interval, temperature, resolution)
    infrared = raman = None
    wavenumbers = np.zeros(0)
    beta = KINETIC / (units.kB * temperature)  # of mass-weighted coordinates, fs^2 / (Angstrom^2 amu)
    if "dipole" in targets:
        wavenumbers, s = correlation_spectrum(targets["dipole"], interval, resolution)
        infrared = INTENSITY * beta * s
    if "polarizability" in targets:
        alpha = targets["polarizability"]
        mean = np.trace(alpha, axis1=1, axis2=2) / 3
        wavenumbers, isotropic = correlation_spectrum(mean, interval, resolution)
        _, anisotropic = correlation_spectrum(alpha - mean[:, None, None] * np.eye(3), interval, resolution)
        raman = beta * (45 * isotropic + 7 * 1.5 * anisotropic)
    return Spectrum(wavenumbers, infrared, raman, temperature)


def harmonic_spectrum(atoms: Atoms, step: float = 0.005) -> HarmonicSpectrum:
    """Normal modes at a minimum with their infrared intensities and Raman activities.

    The Hessian is made of differences of forces, the derivatives of dipole and polarisability are analytic.

    Args:
        atoms: relaxed, with a `WKCalculator`; stays as it is.
        step: Angstrom by which atoms are displaced.

    """
    calculator, work = atoms.calc, atoms.copy()
    work.calc = calculator
    hessian = np.zeros((len(atoms), 3, 3 * len(atoms)))
    for i in range(len(atoms)):
        for x in range(3):
            for sign in (1, -1):
                work.positions[i, x] += sign * step
                hessian[i, x] -= sign * work.get_forces().ravel() / (2 * step)
                work.positions[i, x] = atoms.positions[i, x]
    roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
    matrix = hessian.reshape(len(roots), -1) / np.outer(roots, roots)
    values, modes = np.linalg.eigh(0.5 * (matrix + matrix.T))
    omega = np.sign(values) * np.sqrt(np.abs(values) / KINETIC)  # 1/fs
    modes = modes / roots[:, None]
    infrared = raman = None
    if "dipole_derivatives" in calculator.implemented_properties:
        slopes = calculator.get_property("dipole_derivatives", atoms).reshape(len(roots), 3)
        infrared = INTENSITY * np.sum((modes.T @ slopes) ** 2, axis=1)
    if "polarizability_derivatives" in calculator.implemented_properties:
        slopes = calculator.get_property("polarizability_derivatives", atoms).reshape(len(roots), 3, 3)
        by_mode = np.tensordot(modes.T, slopes, 1)
        mean = np.trace(by_mode, axis1=1, axis2=2) / 3
        rest = by_mode - mean[:, None, None] * np.eye(3)
        raman = 45 * mean**2 + 7 * 1.5 * np.sum(rest**2, axis=(1, 2))
    return HarmonicSpectrum(omega / (2 * np.pi * LIGHT), infrared, raman, modes.T.reshape(len(roots), -1, 3))


def peaks(wavenumbers: np.ndarray, intensities: np.ndarray, least: float = LEAST_PEAK) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers of the maxima that rise above `least` of the highest, and the intensities integrated around them.

    A band ends halfway to the next one.
    """
    found, _ = find_peaks(intensities, prominence=least * np.max(intensities))
    edges = np.concatenate([[0], (found[1:] + found[:-1]) // 2, [len(wavenumbers)]])
    areas = [np.sum(intensities[a:b]) * wavenumbers[1] for a, b in pairwise(edges)]
    return wavenumbers[found], np.array(areas if len(found) else [])


def frames_interval(frames: Sequence[Atoms], interval: float | None = None) -> float:
    """Time between frames in fs: as given, else as the frames say (`info["time"]`, ps).

    Raises:
        SpectrumError: they do not say, or not the same.

    """
    if interval is not None:
        return interval
    times = [frame.info.get("time") for frame in frames]
    if None in times or len(times) < 2:
        raise SpectrumError("the frames do not say their times; give the time between them with --interval")
    gaps = 1000 * np.diff(np.array(times, float))
    if np.ptp(gaps) > 1e-3 * gaps[0]:
        raise SpectrumError(
            f"the frames are {gaps.min():g} to {gaps.max():g} fs apart; a spectrum needs equal times, see --frames"
        )
    return float(gaps[0])


def frames_temperature(frames: Sequence[Atoms]) -> float:
    """Mean kinetic temperature in K, without the degrees of freedom that are at rest: translation and rotation.

    Raises:
        SpectrumError: the frames have no velocities.

    """
    energies = np.array([frame.get_kinetic_energy() for frame in frames])
    if not np.any(energies):
        raise SpectrumError("the frames have no velocities, which would tell the temperature; set --temperature")
    first = frames[0]
    scale = len(first) * np.sqrt(2 * energies[0] * np.mean(first.get_masses()))
    freedom = 3 * len(first)
    if np.linalg.norm(first.get_momenta().sum(axis=0)) < 1e-3 * scale:
        freedom -= 3
    if not first.pbc.any() and len(first) > 2 and np.linalg.norm(first.get_angular_momentum()) < 1e-3 * scale:
        freedom -= 3
    return float(2 * energies.mean() / (units.kB * freedom))
