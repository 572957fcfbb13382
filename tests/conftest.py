"""What every test relies on."""

import signal
import threading

# Started in the background by a shell, pytest is deaf to SIGINT, and so would be the scripts that tests interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
