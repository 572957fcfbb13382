"""Programs of the sampler compared."""

import numpy as np

from ising_rg.sampler import sampling


def same(program, other):
    """Return whether two Programs have the same arrays, types included."""
    arrays, others = sampling.to_arrays(program), sampling.to_arrays(other)
    return arrays.keys() == others.keys() and all(
        np.array_equal(a, others[name]) and a.dtype == others[name].dtype for name, a in arrays.items()
    )
