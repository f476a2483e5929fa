"""What would happen: why one person is or is not contacted now (`explain`), and when a campaign will end (`forecast`).

It only reads. The rules and the readers of facts are those that coordinator and intent use, so it cannot tell of other
rules than theirs; but it asks without their locks, so the next moment may be another.
"""
