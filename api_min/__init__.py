"""The public side: the api's process and the `carillon` command."""

import gc

gc.set_threshold(50_000, 20, 100)  # as in `workers`: the start is imports, and nothing of them is garbage
