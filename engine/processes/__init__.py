"""Starting Carillon's processes together on one machine: for development, the demo, the benchmarks and the tests.

In production a platform does this; see `Procfile` and `deploy/`.
"""
