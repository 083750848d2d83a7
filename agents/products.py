"""Products of small matrices for compiled loops, written in the processor's vector instructions.

Libraries of linear algebra are made for large matrices or for many at once. An agent's layers are so small that both
cost more than the arithmetic: a call for each product, and a way through memory for whatever happens between two. Here
a product is part of the loop that calls it, its factors still in the nearest cache.

A tile of rows and columns of the result stays in registers while the sum runs; a last column that does not fill a
register is masked. The order of sums depends on the sizes alone, never on where a matrix lies.

Matrices are told by their addresses, ``Tensor.data_ptr()`` or ``array.ctypes.data``, and ``kind``, any array of their
type: float32 or float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils, config
from numba.extending import intrinsic as numba_intrinsic

from routing_env._kernel import kernel

__all__ = ["numbers", "product", "transposed"]

intrinsic: Any = numba_intrinsic


def _features() -> str:
    """Those of the processor that numba compiles for."""
    asked: str | None = getattr(config, "CPU_FEATURES", None)
    if asked is not None:
        return asked
    try:
        return str(llvmlite.binding.get_host_cpu_features().flatten())
    except RuntimeError:  # LLVM cannot ask this one
        return ""


WIDE = "+avx512f" in _features().split(",")
REGISTER = 64 if WIDE else 32
"""bytes"""
ROWS = 8 if WIDE else 4
"""of a tile"""
LONG, INT = ir.IntType(64), ir.IntType(32)


class _Writer:
    """Writes vector instructions for numbers of one type."""

    def __init__(self, builder: Any, scalar: Any, size: int) -> None:
        self.builder, self.scalar, self.size = builder, scalar, size
        self.lanes = REGISTER // size
        self.vector = ir.VectorType(scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.name = f"v{self.lanes}f{8 * size}"

    def at(self, base: Any, elements: Any, vector: bool) -> Any:
        """Pointer to the number or vector so many elements behind an address."""
        bytes_ = self.builder.mul(elements, ir.Constant(LONG, self.size))
        kind = self.vector if vector else self.scalar
        return self.builder.inttoptr(self.builder.add(base, bytes_), kind.as_pointer())

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """What a function of LLVM gives."""
        kind = ir.FunctionType(result, [one.type for one in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def load(self, base: Any, elements: Any, mask: Any | None) -> Any:
        """The vector that many elements behind an address; zeros outside a mask."""
        pointer = self.at(base, elements, vector=True)
        if mask is None:
            return self.builder.load(pointer, align=self.size)
        align = ir.Constant(INT, self.size)
        return self.call(f"llvm.masked.load.{self.name}.p0", self.vector, pointer, align, mask, self.zero)

    def store(self, value: Any, base: Any, elements: Any, mask: Any | None) -> None:
        """Write a vector that many elements behind an address, within a mask."""
        pointer = self.at(base, elements, vector=True)
        if mask is None:
            self.builder.store(value, pointer, align=self.size)
        else:
            align = ir.Constant(INT, self.size)
            self.call(f"llvm.masked.store.{self.name}.p0", ir.VoidType(), value, pointer, align, mask)

    def everywhere(self, value: Any) -> Any:
        """A vector of one number."""
        vector = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        one = self.builder.insert_element(vector, value, ir.Constant(INT, 0))
        return self.builder.shuffle_vector(one, vector, ir.Constant(ir.VectorType(INT, self.lanes), [0] * self.lanes))

    def below(self, first: int, end: Any) -> Any:
        """Mask of the lanes, numbered from ``first``, that lie before ``end``."""
        numbers = ir.Constant(ir.VectorType(LONG, self.lanes), [first + lane for lane in range(self.lanes)])
        return self.builder.icmp_signed("<", numbers, self.everywhere(end))

    def shuffled(self, a: Any, b: Any, places: Sequence[int]) -> Any:
        """A vector from two: lane k is lane places[k] of both in a row."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, self.lanes), list(places)))


def _tile(rows: int) -> Any:
    """A product of so many rows, and of columns that fill two registers or end within the first or second."""

    @intrinsic
    def tile(
        context: Any, kind: Any, x: Any, x_row: Any, x_column: Any, w: Any, w_row: Any, first: Any, out: Any,
        out_row: Any, inner: Any, columns: Any, floor: Any,
    ) -> Any:  # fmt: skip
        """out[r, c] = max(first[c] + sum over i of x[r * x_row + i * x_column] w[i * w_row + c], floor)."""

        def generate(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
            scalar = context.get_value_type(signature.args[0].dtype)
            writer = _Writer(builder, scalar, context.get_abi_sizeof(scalar))
            columns, lanes = values[-2], ir.Constant(LONG, writer.lanes)
            two = builder.icmp_signed(">", columns, lanes)
            full = builder.icmp_signed(">=", columns, builder.add(lanes, lanes))
            with builder.if_else(full) as (fills, ends):
                with fills:
                    _write_tile(writer, rows, 2, True, *values[1:])
                with ends, builder.if_else(two) as (second, first):
                    with second:
                        _write_tile(writer, rows, 2, False, *values[1:])
                    with first:
                        _write_tile(writer, rows, 1, False, *values[1:])
            return context.get_dummy_value()

        return types.void(kind, *[types.intp] * 10, kind.dtype), generate

    return tile


def _write_tile(
    writer: _Writer, rows: int, registers: int, full: bool, x: Any, x_row: Any, x_column: Any, w: Any, w_row: Any,
    first: Any, out: Any, out_row: Any, inner: Any, columns: Any, floor: Any,
) -> None:  # fmt: skip
    builder = writer.builder
    starts = [ir.Constant(LONG, c * writer.lanes) for c in range(registers)]
    masks = [None if full else writer.below(c * writer.lanes, columns) for c in range(registers)]
    sums = [[cgutils.alloca_once(builder, writer.vector) for _ in starts] for _ in range(rows)]
    for start, mask, *own in zip(starts, masks, *sums, strict=True):
        begun = writer.load(first, start, mask)
        for one in own:
            builder.store(begun, one)
    with cgutils.for_range(builder, inner, intp=LONG) as loop:
        row, column = builder.mul(loop.index, w_row), builder.mul(loop.index, x_column)
        weights = [writer.load(w, builder.add(row, start), mask) for start, mask in zip(starts, masks, strict=True)]
        for r, own in enumerate(sums):
            place = builder.add(column, builder.mul(x_row, ir.Constant(LONG, r)))
            factor = writer.everywhere(builder.load(writer.at(x, place, vector=False)))
            for one, weight in zip(own, weights, strict=True):
                name = f"llvm.fmuladd.{writer.name}"
                builder.store(writer.call(name, writer.vector, factor, weight, builder.load(one)), one)
    least = writer.everywhere(floor)
    for r, own in enumerate(sums):
        row = builder.mul(out_row, ir.Constant(LONG, r))
        for one, start, mask in zip(own, starts, masks, strict=True):
            found = builder.load(one)
            above = builder.select(builder.fcmp_ordered("<", found, least), least, found)  # NaN stays
            writer.store(above, out, builder.add(row, start), mask)


_MANY, _ONE = _tile(ROWS), _tile(1)


@intrinsic
def _block(context: Any, kind: Any, x: Any, x_row: Any, out: Any, out_row: Any) -> Any:
    """out[c, r] = x[r, c] of a square block that is a register wide."""

    def generate(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
        scalar = context.get_value_type(signature.args[0].dtype)
        writer = _Writer(builder, scalar, context.get_abi_sizeof(scalar))
        _, x, x_row, out, out_row = values
        lanes = range(writer.lanes)
        rows = [writer.load(x, builder.mul(x_row, ir.Constant(LONG, r)), None) for r in lanes]
        step = 1
        while step < writer.lanes:  # swap the blocks beside the diagonal, of size 1, 2, 4, ...
            for r in lanes:
                if not r & step:
                    a, b = rows[r], rows[r + step]
                    rows[r] = writer.shuffled(a, b, [k + writer.lanes - step if k & step else k for k in lanes])
                    rows[r + step] = writer.shuffled(a, b, [k + writer.lanes if k & step else k + step for k in lanes])
            step *= 2
        for r in lanes:
            writer.store(rows[r], out, builder.mul(out_row, ir.Constant(LONG, r)), None)
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 4), generate


@intrinsic
def _pointer(context: Any, kind: Any, where: Any) -> Any:
    """A pointer from an address."""

    def generate(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
        return builder.inttoptr(values[1], context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(kind, types.intp), generate


@kernel
def numbers(kind: Any, where: int, count: int) -> Any:
    """The numbers at an address as an array (count,)."""
    return carray(_pointer(kind, where), count)


@kernel
def product(
    kind: Any, x: int, x_row: int, x_column: int, w: int, first: int, out: int, rows: int, inner: int, columns: int,
    floor: float,
) -> None:  # fmt: skip
    """out (rows, columns) = max(first (columns,) + X (rows, inner) @ w (inner, columns), floor), elementwise.

    Args:
        x, x_row, x_column: X and its strides in elements, so that it can be a matrix turned.
        w, out: without gaps, like ``first``.
        floor: 0 for a ReLU, which keeps NaN; -inf for none.
    """
    size = kind.itemsize
    lanes = REGISTER // size
    c = 0
    while c < columns:
        left, r = columns - c, 0
        b, d = w + c * size, first + c * size
        while r < rows:
            many = rows >= ROWS
            if many and rows - r < ROWS:
                r = rows - ROWS  # a few rows once more
            a, e = x + r * x_row * size, out + (r * columns + c) * size
            if many:
                _MANY(kind, a, x_row, x_column, b, columns, d, e, columns, inner, left, floor)
            else:
                _ONE(kind, a, x_row, x_column, b, columns, d, e, columns, inner, left, floor)
            r += ROWS if many else 1
        c += 2 * lanes


@kernel
def transposed(kind: Any, x: int, out: int, rows: int, columns: int) -> None:
    """out (columns, rows) = x (rows, columns) turned, both without gaps."""
    size = kind.itemsize
    lanes = REGISTER // size
    whole_rows, whole_columns = rows - rows % lanes, columns - columns % lanes
    for r in range(0, whole_rows, lanes):
        for c in range(0, whole_columns, lanes):
            _block(kind, x + (r * columns + c) * size, columns, out + (c * rows + r) * size, rows)
    those, turned = numbers(kind, x, rows * columns), numbers(kind, out, rows * columns)
    for r in range(rows):
        for c in range(whole_columns if r < whole_rows else 0, columns):
            turned[c * rows + r] = those[r * columns + c]
