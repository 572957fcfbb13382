"""The block-spin rule and the kernels that invert it: what is trained, saved and loaded, and how good it is.

`models` reads and writes weight files, `drawer` gives growth the program of one, `quality` measures KL per site. Imports theory,
spins, updates, sampler.
"""
