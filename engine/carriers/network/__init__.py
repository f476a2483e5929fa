"""The simulated telephone network: a real HTTP server in its own process, in two API shapes.

It judges the engine: its log holds every create that it received, with the time, written before the answer. It never
deduplicates creates, so a second create of one ref is a second call, and shows.
"""
