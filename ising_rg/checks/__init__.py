"""One configuration or an ensemble against exact theory: rows (measured, exact, error, z), and a verdict in words.

`comparison` makes the rows, `local_equilibrium` (of what `neighbourhoods` counts) and `walls` those that need no
calibration, `reasons` the words.
Nothing here changes a spin. Imports theory, spins, updates (cluster labels) and pictures (previews).
"""
