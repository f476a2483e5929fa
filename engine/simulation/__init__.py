"""The deterministic simulation: whole histories of the engine under one seed, a time of its own, and every fault.

`script` writes what will happen, `world` plays it against a `port.Steps` (`memory`, or `postgres`), `witness` asks
whether the promises held, `shrink` looks for the shortest script that still fails. What is simulated is carriers,
queues, time and the death of processes; what decides is the engine's own code. See `runner` for the way in.
"""
