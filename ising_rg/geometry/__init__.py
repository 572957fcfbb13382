"""Clusters and walls of configurations of any size, beside what is exact: counted in strips of rows whose parts add up.

A strip is counted by itself, by one thread. What lies within it is done with; what reaches its first or last row is kept open, and
joined to the strip below: `clusters` by union-find, `loops` by the ends of their walls. So one pass over the rows of a lattice, in
memory or in a file, counts every cluster and every wall, the same for any strips and threads. `survey` is that pass, `labels` a
second one; `rows` puts exact values beside. Imports theory, spins, updates (bonds, runs) and pictures.
"""
