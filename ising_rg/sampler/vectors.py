"""Operations on vectors of 8 and 16 bits that LLVM does not find in a loop by itself, written in its own language of vectors.

They are not those of one processor: LLVM makes of a vector of 64 numbers what the processor has, two registers of 512 bits or eight
of 128. Sums stay in registers over all taps, which a loop over taps around a loop over a row does not do.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT8, _INT16, _INT32, _INT64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _array(context, builder, kind, value):
    return context.make_array(kind)(context, builder, value)


def _at(builder, data, index, kind):
    """Return a pointer to a vector that begins at data[index]."""
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _splat(builder, number, kind):
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_INT32, kind.count), [0] * kind.count))


def _weighted_sums(lanes):
    vector, of_bytes = ir.VectorType(_INT16, lanes), ir.VectorType(_INT8, lanes)

    @intrinsic
    def _sums(_, flat, start, offsets, weights, factors, product_weights, sums, at):
        """Set sums[at + i], i < lanes, to the sum over taps of weight times flat[start + at + offset + i], and over products.

        Args:
            flat: int8 (n,); start, at: int64.
            offsets: int64 (taps,); weights: int16 (taps,).
            factors: int64 (products, 3), of which the product is that of flat's numbers there; product_weights: int16 (products,).
            sums: int16, at least at + lanes long. Sums and products are taken modulo 2^16.
        """

        def generate(context, builder, signature, arguments):
            arrays = [_array(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 3, 4, 5, 6)]
            flat, offsets, weights, factors, product_weights, sums = (array.data for array in arrays)
            n_taps, n_products = (cgutils.unpack_tuple(builder, arrays[i].shape)[0] for i in (2, 4))
            here = builder.add(arguments[1], arguments[7])
            total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * lanes))

            def spins(place):
                there = builder.add(here, builder.load(builder.gep(offsets_or_factors, [place])))
                return builder.sext(builder.load(_at(builder, flat, there, of_bytes), align=1), vector)

            def add(product, weights, index):
                weight = _splat(builder, builder.load(builder.gep(weights, [index])), vector)
                builder.store(builder.add(builder.load(total), builder.mul(product, weight)), total)

            offsets_or_factors = offsets
            with cgutils.for_range(builder, n_taps) as loop:
                add(spins(loop.index), weights, loop.index)
            offsets_or_factors = factors
            with cgutils.for_range(builder, n_products) as loop:
                first = builder.mul(loop.index, ir.Constant(_INT64, 3))
                places = [builder.add(first, ir.Constant(_INT64, i)) for i in range(3)]
                product = builder.mul(builder.mul(spins(places[0]), spins(places[1])), spins(places[2]))
                add(product, product_weights, loop.index)
            builder.store(builder.load(total), _at(builder, sums, arguments[7], vector), align=2)
            return context.get_dummy_value()

        int64 = types.int64
        return types.void(flat, int64, offsets, weights, factors, product_weights, sums, int64), generate

    return _sums


weighted_sums_of_64, weighted_sums_of_32 = _weighted_sums(64), _weighted_sums(32)


@intrinsic
def positive_bits(_, row, at):
    """Return the uint64 of which bit i says whether row[at + i] > 0, i < 64; row: int8, at least at + 64 long."""
    vector = ir.VectorType(_INT8, 64)

    def generate(context, builder, signature, arguments):
        data = _array(context, builder, signature.args[0], arguments[0]).data
        numbers = builder.load(_at(builder, data, arguments[1], vector), align=1)
        positive = builder.icmp_signed(">", numbers, ir.Constant(vector, [0] * 64))
        return builder.bitcast(positive, _INT64)

    return types.uint64(row, types.int64), generate


@intrinsic
def low_and_high_halves(_, words, first, halves, at):
    """Set halves[at ... at + 7], uint16, to the low halves of four words, uint32, from `first` on, and then to their high ones."""
    four, eight = ir.VectorType(_INT32, 4), ir.VectorType(_INT16, 8)

    def generate(context, builder, signature, arguments):
        data, out = (_array(context, builder, signature.args[i], arguments[i]).data for i in (0, 2))
        found = builder.bitcast(builder.load(_at(builder, data, arguments[1], four), align=4), eight)
        order = ir.Constant(ir.VectorType(_INT32, 8), [0, 2, 4, 6, 1, 3, 5, 7])
        builder.store(builder.shuffle_vector(found, found, order), _at(builder, out, arguments[3], eight), align=2)
        return context.get_dummy_value()

    return types.void(words, types.int64, halves, types.int64), generate
