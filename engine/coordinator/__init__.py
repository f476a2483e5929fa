"""The coordinator: leases campaigns, keeps the queues a few seconds deep, and looks after what nobody else would.

One duty per file, all of one shape (`every_s`, `run_once`); `loop` runs them. No promise rests on anything here: what a
duty enqueues is a hint that the intent checks again, what it writes is guarded by the campaign's key and state.
"""
