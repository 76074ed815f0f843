"""Measurement: the clock, the threads, the machine's state, memory, hardware limits and failures."""
