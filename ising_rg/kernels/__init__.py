"""The block-spin rule, the kernels that invert it, and the sampler that draws from them with integers.

`models` holds what is trained and saved, `sampling` turns it into a Program of integer weights and draws from it, on
the CPU and on GPUs the same bits; `quality` measures KL per site. Imports theory, spins, updates.
"""
