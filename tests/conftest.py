"""What every test relies on."""

import gc
import signal
import threading

import ising_rg  # noqa: F401, first: it sets what OpenMP reads when torch or numba load it

# Started in the background by a shell, pytest is deaf to SIGINT, and so would be the scripts that tests interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Most of the time goes to compiling, a tenth of that to collecting what the compiler makes, if done as often as usual.
gc.set_threshold(50_000, 20, 100)
