"""Small random systems, labels and options of quick fits."""

import dataclasses
from functools import cache

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation

from wk_potential import Frame, TrainingOptions
from wk_potential.density.expansion import expand, full_density
from wk_potential.density.radial import radial_table
from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import in_blocks, pair_kernel
from wk_potential.kernel.iteration import invariants, iterate, workspace
from wk_potential.kernel.tensor import add_tensor_rows, tensor_terms

CUTOFF, CUTOFF_WIDTH, WIDTH, GROWTH = 4.0, 1.0, 0.4, 4.0  # of the densities below
# options of quick fits, for tests of active learning
PLAIN = {"cutoff": 4.0, "cutoff_width": 2.0, "lmax": 1, "order": 2, "density_width": 0.5, "channel_tolerance": 1e-2}
QUICK = TrainingOptions(**PLAIN, short_cutoff=0, map=False)
SPARSE = QUICK.model_copy(
    update={"estimator": "sparse", "support_points": 20, "lmax": 2, "order": 3, "saturation": 0.0}
)
SMALL = {"lmax": 2, "cutoff": 4.0, "cutoff_width": 3.0}  # options of small fits


@cache
def make_table(lmax, tolerance=1e-4):
    return radial_table(CUTOFF, CUTOFF_WIDTH, WIDTH, GROWTH, lmax, tolerance)


@cache
def make_density(lmax, n_elements, tolerance=1e-4):
    return full_density(lmax, make_table(lmax, tolerance), n_elements)


def random_environment(seed, n=5, n_elements=1, farthest=4.5):
    """Vectors (n, 3) and elements (n,) of neighbours between 0.8 Angstrom and `farthest`."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    return directions * rng.uniform(0.8, farthest, n)[:, None], rng.integers(n_elements, size=n)


def random_support(lmax, n, channels, seed=0):
    """Coefficients, weights and tangents of n support points, of about the norm of real ones."""
    rng = np.random.default_rng(seed)
    shape = (n, (lmax + 1) ** 2, channels)
    return 0.5 * rng.normal(size=shape), rng.normal(size=n), 0.2 * rng.normal(size=shape)


def coefficients(density, vectors, elements, centre=0):
    """Coefficients (n_lm, Q) of one environment."""
    return expand(density, np.array([centre]), np.array([0, len(vectors)]), vectors, elements)[0]


def lanes_kernels(lmax, order, c, others):
    """Kernels (order, n) of coefficients c (n_lm, Q) with others (n, n_lm, Q), by the compiled code."""
    terms, support = wigner_terms(lmax, order), in_blocks(np.reshape(others, (len(others), -1)))
    values = np.zeros((len(support), order, support.shape[2]))
    for block, out in zip(support, values, strict=True):
        k = workspace(terms, order)
        pair_kernel(lmax, c, block, k[0])
        iterate(terms, k)
        invariants(k, out)
    return np.concatenate(values, axis=1)[:, : len(others)]


def labelled(atoms, seed=0, **results):
    """A copy of the structure with random displacements and labels."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    results = {"energy": rng.normal(), "forces": rng.normal(size=atoms.positions.shape), **results}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystal(seed=0):
    atoms = bulk("Si", cubic=True)
    atoms.cell[1, 0] = 0.3
    return labelled(atoms, seed, stress=np.random.default_rng(seed).normal(size=6))


def scale_of(array):
    return np.abs(array).max()


def order_weights(order, seed=0):
    return np.random.default_rng(seed).normal(size=order)


def rotation_matrix(seed):
    return Rotation.from_quat(np.random.default_rng(seed).normal(size=4)).as_matrix()


def labelled_copper(n, seed=0, strain=0.02):
    """Frames of strained and rattled cells of four copper atoms, labelled by effective-medium theory."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(Frame.from_atoms(atoms, f"copper {i}"))
    return frames


def rattled_frames(atoms, n, amount, seed=0):
    """Frames of a structure whose atoms are moved at random, by this many Angstrom, with an energy of no meaning."""
    found = []
    for k in range(n):
        copy = atoms.copy()
        copy.rattle(amount, seed=seed + k)
        found.append(Frame(copy.numbers, copy.positions, copy.cell.array, copy.pbc, energy=0.0))
    return found


def rattled_frame(atoms, calculator, seed, rattle=0.1, drop=()):
    """Frame of a rattled structure with the labels of a calculator, less some kinds."""
    atoms = atoms.copy()
    atoms.rattle(rattle, seed=seed)
    atoms.calc = calculator
    atoms.get_potential_energy()
    frame = Frame.from_atoms(atoms, f"frame {seed}")
    return dataclasses.replace(frame, **dict.fromkeys(drop))


def tensor_kernels(lmax, order, momentum, c, others):
    """Kernels (order, 2L + 1, n, 2L + 1) of coefficients c (n_lm, Q) with others (n, n_lm, Q)."""
    blocks = in_blocks(np.reshape(others, (len(others), -1)))
    columns = np.full(blocks.shape[0] * blocks.shape[2], -1)
    columns[: len(others)] = np.arange(len(others))
    width = 2 * momentum + 1
    out = np.zeros((order, width, len(others), width))
    terms = tensor_terms(lmax, order, momentum)
    add_tensor_rows(terms, lmax, np.eye(order), c, blocks, columns.reshape(len(blocks), -1), out)
    return out
