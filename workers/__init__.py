"""The processes that do the engine's work: `python -m workers.…`."""

import gc

# A process begins by importing half a million objects, all of which stay: looking for garbage among them takes a
# seventh of its start, and so of the time until a killed one is back.
gc.set_threshold(50_000, 20, 100)
