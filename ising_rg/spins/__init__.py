"""Forms of a lattice, files of spins, and what is counted of them.

`lattice.PackedLattice` (sublattices apart, one bit a spin) is updated, `bitmaps.Bitmap` (row by row, one bit a spin)
is measured (`pairs` of spins by their distance), `bitfile.Rows` is a Bitmap that stays on disk, int8 (L, L) of +1 and -1
is what users see (docs/compiled.md has the picture). A lattice knows the device that it is on. Imports theory, and storage
for files.
"""
