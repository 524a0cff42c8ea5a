"""Real spherical harmonics and their gradients on plain arrays, compiled."""

import numpy as np

from ..compute.jit import njit


@njit
def spherical_harmonics(lmax, x, y, z, values, grads):
    """Orthonormal real spherical harmonics of a unit vector and r times their gradient.

    Order (l, m), m = -l..l: sin |m| phi, 1, cos m phi, without Condon-Shortley phase. Computed as the solid
    harmonics r^l Y_lm, polynomials in x, y, z (recursions of Bigi et al., J. Chem. Phys. 159, 064802 (2023)).

    Args:
        lmax: largest angular momentum.
        x, y, z: components of a unit vector.
        values: ((lmax + 1)^2,) output.
        grads: ((lmax + 1)^2, 3) output, the tangential gradient r dY/dr of the function of direction.

    """
    c = np.zeros(lmax + 2)
    s = np.zeros(lmax + 2)
    c[0] = 1.0
    for m in range(1, lmax + 1):
        c[m] = x * c[m - 1] - y * s[m - 1]
        s[m] = x * s[m - 1] + y * c[m - 1]
    # q[l, m]: associated Legendre function / (sin theta)^m as a homogeneous polynomial in z and r
    q = np.zeros((lmax + 2, lmax + 2))
    q[0, 0] = 1.0
    for m in range(lmax + 1):
        if m > 0:
            q[m, m] = (2 * m - 1) * q[m - 1, m - 1]
        if m < lmax:
            q[m + 1, m] = (2 * m + 1) * z * q[m, m]
        for l in range(m + 2, lmax + 1):
            q[l, m] = ((2 * l - 1) * z * q[l - 1, m] - (l + m - 1) * q[l - 2, m]) / (l - m)
    for l in range(lmax + 1):
        norm = np.sqrt((2 * l + 1) / (4 * np.pi))
        for m in range(l + 1):
            if m > 0:
                norm *= 1.0 / np.sqrt((l + m) * (l - m + 1))
            f = norm * (np.sqrt(2.0) if m > 0 else 1.0)
            # gradient of q: dq/dz = (l + m) q[l-1, m], dq/dx = x q[l-1, m+1] and dq/dy alike at r = 1
            below = q[l - 1, m] if l > m else 0.0
            side = q[l - 1, m + 1] if l > m + 1 else 0.0
            for sign in (1, -1):
                if m == 0 and sign < 0:
                    continue
                t = c[m] if sign > 0 else s[m]
                tx = m * (c[m - 1] if sign > 0 else s[m - 1]) if m > 0 else 0.0
                ty = m * (-s[m - 1] if sign > 0 else c[m - 1]) if m > 0 else 0.0
                i = l * l + l + sign * m
                values[i] = f * q[l, m] * t
                gx = f * (side * (-x) * t + q[l, m] * tx)
                gy = f * (side * (-y) * t + q[l, m] * ty)
                gz = f * (l + m) * below * t
                # the solid harmonic grows as r^l: remove the radial part
                radial = gx * x + gy * y + gz * z
                grads[i, 0] = gx - radial * x
                grads[i, 1] = gy - radial * y
                grads[i, 2] = gz - radial * z
