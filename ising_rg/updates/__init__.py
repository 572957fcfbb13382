"""Markov chain updates that keep the Boltzmann distribution: Metropolis and Swendsen-Wang, on bits.

Spins are changed in place; every random number is a function of (seed, purpose, sweep, site), so threads, batches and
devices cannot change a spin. Imports spins and random_numbers.
"""
