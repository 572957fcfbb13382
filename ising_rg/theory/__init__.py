"""What is known exactly of the 2D Ising model, and how far one configuration strays from it.

Functions of numbers (L, beta, r) that return numbers; no spins, no files, no random numbers. Every exact value is a
formula with its source. Imports nothing else of the package.
"""
