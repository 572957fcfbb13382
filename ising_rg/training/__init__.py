"""Learning rule and kernel from equilibrated configurations: objectives, the optimization, calibration, checkpoints.

What is trained depends on (data, settings, seed) alone, not on threads or processes, and a killed training goes on.
Imports growth and what is below it.
"""
