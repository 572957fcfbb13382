"""One configuration or an ensemble against exact theory: rows (measured, exact, error, z), and a verdict in words.

`counts` is everything that is counted of a lattice, in one reading, in parts that add up. `comparison` makes the rows of
it, `local_equilibrium` (of `local_sums`, made from what `neighbourhoods` counts) and `walls` those that need no calibration,
`reasons` the words.
Nothing here changes a spin. Imports theory, spins, updates (cluster labels) and pictures (previews).
"""
