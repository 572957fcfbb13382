"""The way back: blocking of configurations, the couplings of what comes out, and critical exponents.

Everything takes the block-spin rule as an argument. Imports kernels and what is below them.
"""
