"""Webhooks, delivered from the event log: at least once, whatever is killed.

`scan` turns events into delivery rows, exactly one per event and webhook. `leases` shares the endpoints among the
processes; `endpoint` sends one endpoint's deliveries, `pump` keeps it fed, `record` writes what came of them. `upkeep`
gives up what is too old. `loop` runs it all. Redis plays no part.
"""
