"""Spectra of known motions, and of harmonic molecules."""

import numpy as np
import pytest
from ase import Atoms, units

from wk_potential.analysis.spectra import (
    INTENSITY,
    KINETIC,
    LIGHT,
    correlation_spectrum,
    frames_interval,
    frames_temperature,
    peaks,
    spectrum,
)
from wk_potential.errors import SpectrumError


def test_unit_of_intensities():
    """1 (Debye/Angstrom)^2/amu is 42.2561 km/mol."""
    assert INTENSITY * units.Debye**2 == pytest.approx(42.2561, rel=1e-5)


def harmonic_series(wavenumbers, amplitudes, interval, n):
    t = np.arange(n) * interval
    omega = 2 * np.pi * LIGHT * np.array(wavenumbers)
    return np.sum(amplitudes * np.cos(omega * t[:, None] + [0.3, 1.1, 2.0]), axis=1), omega


def test_spectrum_of_sums_of_cosines():
    """Lines are where they belong, with the mean square of the derivative as area, whatever the frames' distance."""
    amplitudes = np.array([1.0, 0.5, 0.2])
    for interval in (0.5, 2.0):
        series, omega = harmonic_series([1600.0, 3650.0, 3760.0], amplitudes, interval, int(20000 / interval))
        k, s = correlation_spectrum(series, interval, 10.0)
        found, areas = peaks(k, s)
        assert found == pytest.approx([1600, 3650, 3760], abs=1.5)
        assert areas == pytest.approx(0.5 * (omega * amplitudes) ** 2, rel=0.02)


def test_resolution_is_the_width_of_a_line():
    series, _ = harmonic_series([2000.0] * 3, [1.0, 0.0, 0.0], 1.0, 40000)
    k, s = correlation_spectrum(series, 1.0, 20.0)
    above = k[s > 0.5 * s.max()]
    assert above[-1] - above[0] == pytest.approx(20.0, abs=2.5)


def test_intensity_of_a_classical_oscillator_is_the_quantum_one():
    """A mode at temperature T has its harmonic intensity N_A / (12 eps0 c^2) (d mu / d Q)^2, independent of T."""
    slope, reduced, k = 0.7, 1.3, 1800.0  # e, amu, cm^-1
    omega = 2 * np.pi * LIGHT * k
    for temperature in (50.0, 400.0):
        amplitude = np.sqrt(2 * units.kB * temperature / (KINETIC * reduced * omega**2))
        x = amplitude * np.cos(omega * np.arange(30000))
        found = spectrum({"dipole": slope * x[:, None] * [0.6, 0.0, 0.8]}, 1.0, temperature)
        area = np.sum(found.infrared) * found.wavenumbers[1]
        assert area == pytest.approx(INTENSITY * slope**2 / reduced, rel=0.01)
        assert found.raman is None


def test_raman_activity_of_a_classical_oscillator():
    """45 a'^2 + 7 gamma'^2, with gamma'^2 by its definition in components."""
    a = np.array([[1.0, 0.2, 0.1], [0.2, 2.0, -0.3], [0.1, -0.3, 0.5]])
    k, temperature = 1000.0, 300.0
    omega = 2 * np.pi * LIGHT * k
    x = np.sqrt(2 * units.kB * temperature / (KINETIC * omega**2)) * np.cos(omega * np.arange(30000))
    found = spectrum({"polarizability": x[:, None, None] * a}, 1.0, temperature)
    xx, yy, zz = np.diag(a)
    gamma = 0.5 * ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) + 3 * (0.2**2 + 0.1**2 + 0.3**2)
    expected = 45 * (np.trace(a) / 3) ** 2 + 7 * gamma
    assert np.sum(found.raman) * found.wavenumbers[1] == pytest.approx(expected, rel=0.01)
    assert found.infrared is None


def test_too_short_a_trajectory_is_refused():
    with pytest.raises(SpectrumError, match=r"100 frames, 1 fs apart, are too short for a resolution of 10 cm\^-1"):
        correlation_spectrum(np.zeros((100, 3)), 1.0, 10.0)


def frames(times):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    out = []
    for time in times:
        copy = atoms.copy()
        if time is not None:
            copy.info["time"] = time
        out.append(copy)
    return out


def test_time_between_frames():
    assert frames_interval(frames([0.0, 0.002, 0.004])) == pytest.approx(2.0)
    assert frames_interval(frames([None, None]), 0.5) == 0.5
    with pytest.raises(SpectrumError, match="do not say their times"):
        frames_interval(frames([None, None]))
    with pytest.raises(SpectrumError, match="2 to 3 fs apart"):
        frames_interval(frames([0.0, 0.002, 0.005]))


def test_temperature_counts_the_motion_that_is_free():
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    with pytest.raises(SpectrumError, match="no velocities"):
        frames_temperature([atoms])
    momenta = np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_momenta(momenta)
    energy = atoms.get_kinetic_energy()
    assert frames_temperature([atoms]) == pytest.approx(2 * energy / (9 * units.kB))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    assert frames_temperature([atoms]) == pytest.approx(2 * atoms.get_kinetic_energy() / (6 * units.kB))
    from ase.md.velocitydistribution import Stationary, ZeroRotation

    Stationary(atoms)
    ZeroRotation(atoms)
    assert frames_temperature([atoms]) == pytest.approx(2 * atoms.get_kinetic_energy() / (3 * units.kB))
