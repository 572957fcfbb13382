"""Set bits counted: of one word, and of what differs between two rows of words."""

from __future__ import annotations

from functools import reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

_WORD = ir.IntType(64)
_LANES = 4
_VECTOR = ir.VectorType(_WORD, _LANES)
_COUNTS = f"llvm.ctpop.v{_LANES}i64"


@intrinsic
def popcount(typing_context, word):
    """Return the number of bits set in a uint64, int64: LLVM's own operation, for vectors of words where the processor has it."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def count_unlike_bits(_, one, start, other, other_start, n):
    """Return in how many bits one[start + i] and other[other_start + i], i < n, differ, int64; C-contiguous arrays of uint64.

    A population count of a vector takes eight instructions where the processor has none of its own; carry-save adders, five
    each, leave one count for four vectors: they keep bits of weight one and two, what they carry over is worth four.

    Raises:
        TypingError: an array is not C-contiguous.
    """
    if one.layout != "C" or other.layout != "C":
        raise TypingError(f"found arrays of layouts {one.layout} and {other.layout}, needed C-contiguous ones")

    def generate(context, builder, signature, arguments):
        arrays = [context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2)]
        rows = [builder.gep(array.data, [arguments[i]]) for array, i in zip(arrays, (1, 3), strict=True)]
        ones, twos, total = (cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0] * _LANES)) for _ in range(3))

        def unlike(at, kind):
            places = (builder.bitcast(builder.gep(row, [at]), kind.as_pointer()) for row in rows)
            return builder.xor(*(builder.load(place, align=8) for place in places))

        def add_count(bits, times=1):
            counts = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), _COUNTS)
            counted = builder.mul(builder.call(counts, [bits]), ir.Constant(_VECTOR, [times] * _LANES))
            builder.store(builder.add(builder.load(total), counted), total)

        def carried(a, b, kept):
            before, differ = builder.load(kept), builder.xor(a, b)
            builder.store(builder.xor(differ, before), kept)
            return builder.or_(builder.and_(a, b), builder.and_(differ, before))

        n_vectors = builder.udiv(arguments[4], _word(_LANES))
        n_fours = builder.udiv(n_vectors, _word(4))
        with cgutils.for_range(builder, n_fours) as loop:
            first = builder.mul(loop.index, _word(4 * _LANES))
            a, b, c, d = (unlike(builder.add(first, _word(i * _LANES)), _VECTOR) for i in range(4))
            add_count(carried(carried(a, b, ones), carried(c, d, ones), twos), 4)
        add_count(builder.load(twos), 2)
        add_count(builder.load(ones))
        with cgutils.for_range(builder, n_vectors, builder.mul(n_fours, _word(4))) as loop:
            add_count(unlike(builder.mul(loop.index, _word(_LANES)), _VECTOR))
        lanes = [builder.extract_element(builder.load(total), ir.Constant(ir.IntType(32), i)) for i in range(_LANES)]
        result = cgutils.alloca_once_value(builder, reduce(builder.add, lanes))
        with cgutils.for_range(builder, arguments[4], builder.mul(n_vectors, _word(_LANES))) as loop:
            builder.store(builder.add(builder.load(result), builder.ctpop(unlike(loop.index, _WORD))), result)
        return builder.load(result)

    return types.int64(one, types.int64, other, types.int64, types.int64), generate


def _word(value):
    return ir.Constant(_WORD, value)
