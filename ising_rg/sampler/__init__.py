"""Programs of integer sums that draw the fine lattice from the coarse one, and whatever runs them: CPU, CUDA; their density.

A kernel (`kernels`) is a law; what draws from it, the same bits on every machine, is a `sampling.Program`. Imports spins.
"""
