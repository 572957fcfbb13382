"""Operations on vectors of 8 and 16 bits that LLVM does not find in a loop by itself, written in its own language of vectors.

They are not those of one processor: LLVM makes of a vector of 64 bytes what the processor has, a register of 512 bits or four of
128. Sums stay in registers over all taps, which a loop over taps around a loop over a row does not do.
"""

from functools import reduce

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


def _add_terms(builder, flat, here, terms, sums, vector):
    """Add what terms give, arranged as `terms.arrange` does, to the numbers of 16 bits, a `vector`, that `sums` points to.

    terms: (places, weights, groups, number of groups, factors of a term): pointers to int64, int16 and int64, an int64 and an int.
    """
    places, weights, groups, n_groups, n_factors = terms
    of_bytes = ir.VectorType(_INT8, vector.count)

    def integer(value):
        return ir.Constant(_INT64, value)

    def end_and_start(group):
        at = builder.mul(group, integer(2))
        return (builder.load(builder.gep(groups, [builder.add(at, integer(i))])) for i in range(2))

    def factors(term):
        first = builder.mul(term, integer(n_factors))
        for i in range(n_factors):
            there = builder.add(here, builder.load(builder.gep(places, [builder.add(first, integer(i))])))
            yield builder.load(_at(builder, flat, there, of_bytes), align=1)

    def weight(term, kind):
        return _splat(builder, builder.trunc(builder.load(builder.gep(weights, [term])), kind.element), kind)

    def add(number, to):
        builder.store(builder.add(builder.load(to), number), to)

    n_multiplied, constant = end_and_start(integer(0))
    add(_splat(builder, builder.trunc(constant, _INT16), vector), sums)
    with cgutils.for_range(builder, n_multiplied) as loop:
        product = weight(loop.index, vector)
        for factor in factors(loop.index):
            product = builder.mul(product, builder.sext(factor, vector))
        add(product, sums)
    part = cgutils.alloca_once(builder, of_bytes)
    with cgutils.for_range(builder, n_groups, integer(1)) as group:
        (first, _), (end, start) = end_and_start(builder.sub(group.index, integer(1))), end_and_start(group.index)
        builder.store(_splat(builder, builder.trunc(start, _INT8), of_bytes), part)
        with cgutils.for_range(builder, end, first) as loop:
            spin = reduce(builder.xor, factors(loop.index))
            add(builder.and_(spin, weight(loop.index, of_bytes)), part)
        add(builder.neg(builder.sext(builder.load(part), vector)), sums)


def _weighted_sums(lanes):
    vector = ir.VectorType(_INT16, lanes)

    @intrinsic
    def _sums(_, flat, start, taps, products, sums, at):
        """Set sums[at + i], i < lanes, to the sum of terms seen from flat[start + at + i]; see `sampling_rows.weighted_sums`."""

        def generate(context, builder, signature, arguments):
            flat, sums = (_array(context, builder, signature.args[i], arguments[i]).data for i in (0, 4))
            here = builder.add(arguments[1], arguments[5])
            total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * lanes))
            for k, n_factors in ((2, 1), (3, 3)):
                arrays = [
                    _array(context, builder, kind, builder.extract_value(arguments[k], i))
                    for i, kind in enumerate(signature.args[k])
                ]
                n_groups = cgutils.unpack_tuple(builder, arrays[2].shape)[0]
                terms = (*(array.data for array in arrays), n_groups, n_factors)
                _add_terms(builder, flat, here, terms, total, vector)
            builder.store(builder.load(total), _at(builder, sums, arguments[5], vector), align=2)
            return context.get_dummy_value()

        return types.void(flat, types.int64, taps, products, sums, types.int64), generate

    return _sums


weighted_sums_of_128, weighted_sums_of_32 = _weighted_sums(128), _weighted_sums(32)


@intrinsic
def divide_and_clamp_32(_, numbers, at, limit, shift):
    """Divide numbers[at + i], int16, i < 32, by 2^shift and clamp them to +-limit.

    Quotients are rounded toward 0, so that a flip of all spins only turns the sign.
    """
    vector = ir.VectorType(_INT16, 32)

    def generate(context, builder, signature, arguments):
        data = _array(context, builder, signature.args[0], arguments[0]).data
        place = _at(builder, data, arguments[1], vector)
        limit, shift = (_splat(builder, builder.trunc(argument, _INT16), vector) for argument in arguments[2:])
        zero, one = (ir.Constant(vector, [value] * 32) for value in (0, 1))
        number = builder.load(place, align=2)
        below = builder.sub(builder.shl(one, shift), one)
        negative = builder.icmp_signed("<", number, zero)
        kept = builder.ashr(builder.add(number, builder.select(negative, below, zero)), shift)
        for sign, most in (("<", limit), (">", builder.neg(limit))):
            kept = builder.select(builder.icmp_signed(sign, kept, most), kept, most)
        builder.store(kept, place, align=2)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, types.int64, types.int64), generate


@intrinsic
def compare_32(_, sums, at, uniforms, thresholds, limit):
    """Set sums[at + i], int16, i < 32, to +1 where uniforms[at + i] is below thresholds[limit + sum], uint16, else to -1.

    Look-ups are one by one, but what they find is gathered in registers, where by themselves it would go through memory.
    """
    vector = ir.VectorType(_INT16, 32)

    def generate(context, builder, signature, arguments):
        sums, uniforms, thresholds = (_array(context, builder, signature.args[i], arguments[i]).data for i in (0, 2, 3))
        at, middle = arguments[1], builder.gep(thresholds, [arguments[4]])
        found = ir.Constant(vector, ir.Undefined)
        for i in range(vector.count):
            number = builder.load(builder.gep(sums, [builder.add(at, ir.Constant(_INT64, i))]))
            threshold = builder.load(builder.gep(middle, [builder.sext(number, _INT64)]))
            found = builder.insert_element(found, threshold, ir.Constant(_INT32, i))
        uniform = builder.load(_at(builder, uniforms, at, vector), align=2)
        up, down = (ir.Constant(vector, [spin] * vector.count) for spin in (1, -1))
        spins = builder.select(builder.icmp_unsigned("<", uniform, found), up, down)
        builder.store(spins, _at(builder, sums, at, vector), align=2)
        return context.get_dummy_value()

    return types.void(sums, types.int64, uniforms, thresholds, types.int64), generate


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
