"""One run of a script: its settings, its folder, its processes."""
