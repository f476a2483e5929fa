"""The promises as named checkers over what was recorded: the rows, and the carrier's own log of creates.

The same checkers judge the tests, the demo, the chaos run and a live database (`carillon check`). A checker reads each
fact in one statement, so that it may run beside live traffic, and returns its problems in words; `report.CHECKS` is the
table of all of them.
"""
