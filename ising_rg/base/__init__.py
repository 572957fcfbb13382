"""What everything else stands on: errors, the environment, compilation, threads, random numbers."""
