"""Growing L -> 3L -> 9L -> ...: one stage, a run of stages in memory or from file to file, and what a killed run goes on
from.

`upsampling` draws and refines one stage, `run.Run` says what is grown, `growing` and `growing_streamed` do it; both
make the same spins. Imports kernels and what is below them, processes, pictures and reports.
"""
