"""LAMMPS' neighbour lists in compressed rows, read through its C functions from compiled code."""

from ctypes import c_void_p, cast
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..atoms.neighbours import Neighbours
from ..compute.jit import njit

_INDEX = 0x1FFFFFFF  # bits of a neighbour that are its index; the others mark bonded neighbours
_INT, _LONG = ir.IntType(32), ir.IntType(64)


@intrinsic
def _element_neighbours(typingctx, function, handle, listed, k, out):
    """Call lammps_neighlist_element_neighbors; `out` says where atom, number of neighbours and their address go."""

    def codegen(context, builder, signature, args):
        function, handle, listed, k, out = args
        at = [builder.extract_value(out, i) for i in range(3)]
        kind = ir.FunctionType(ir.VoidType(), [_LONG, _INT, _INT, _LONG, _LONG, _LONG])
        pointer = builder.inttoptr(function, kind.as_pointer())
        builder.call(pointer, [handle, builder.trunc(listed, _INT), builder.trunc(k, _INT), *at])
        return context.get_dummy_value()

    signature = types.void(types.intp, types.intp, types.intp, types.intp, types.UniTuple(types.intp, 3))
    return signature, codegen


@intrinsic
def _int32_at(typingctx, address, index):
    """The index-th of the integers (32 bits) at an address."""

    def codegen(context, builder, signature, args):
        return builder.load(builder.gep(builder.inttoptr(args[0], _INT.as_pointer()), [args[1]]))

    return types.int32(types.intp, types.intp), codegen


@njit
def _count(function, handle, listed, n_rows, first):
    """Fill first (n + 1,) with the beginning of each atom's neighbours."""
    place, pointer = np.zeros(2, np.int32), np.zeros(1, np.int64)
    out = (types.intp(place.ctypes.data), types.intp(place.ctypes.data) + 4, types.intp(pointer.ctypes.data))
    first[:] = 0
    for k in range(n_rows):
        _element_neighbours(function, handle, listed, k, out)
        first[place[0] + 1] = place[1]
    for i in range(first.shape[0] - 1):
        first[i + 1] += first[i]


@njit
def _copy(function, handle, listed, n_rows, first, neighbour):
    """Fill neighbour (P,), the rows one after the other."""
    place, pointer = np.zeros(2, np.int32), np.zeros(1, np.int64)
    out = (types.intp(place.ctypes.data), types.intp(place.ctypes.data) + 4, types.intp(pointer.ctypes.data))
    for k in range(n_rows):
        _element_neighbours(function, handle, listed, k, out)
        start = first[place[0]]
        for p in range(place[1]):
            neighbour[start + p] = _int32_at(pointer[0], p) & _INDEX


class ForeignNeighbours:
    """Reads the full neighbour lists of a `lammps` object; keeps the room for the next time."""

    def __init__(self, lmp: Any):
        self._lmp = lmp
        self._function = cast(lmp.lib.lammps_neighlist_element_neighbors, c_void_p).value
        self._neighbour, self._shift = np.zeros(0, np.int32), np.zeros((0, 3), np.int16)

    def read(self, listed: int, n: int) -> Neighbours:
        """Neighbours of the n own atoms, among own and ghost atoms; valid until the next call.

        Args:
            listed: number of the list in LAMMPS.
            n: number of own atoms.

        """
        first, n_rows = np.zeros(n + 1, np.int64), self._lmp.get_neighlist_size(listed)
        _count(self._function, self._lmp.lmp.value, listed, n_rows, first)
        if first[-1] > len(self._neighbour):
            room = int(1.1 * first[-1])
            self._neighbour, self._shift = np.zeros(room, np.int32), np.zeros((room, 3), np.int16)
        _copy(self._function, self._lmp.lmp.value, listed, n_rows, first, self._neighbour)
        return Neighbours(first, self._neighbour[: first[-1]], self._shift[: first[-1]])
