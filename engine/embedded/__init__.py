"""PostgreSQL and Redis as children of ours, for development, the demo and the tests.

`servers.start_servers` finds the programs, starts a `guardian` process that is their parent and stops them when we are
gone, however we went, and answers the URLs. `lifeline` gives the same promise to the processes that we start ourselves.
"""
