"""The event log's rows: chunks of consecutive events of one account, one canonical event a line (`Event.encode`).

A row for each event cost PostgreSQL more than all else that an event needs. The view `events` shows one, to who looks
at all of the log; who looks at a part of it finds its chunks by the numbers at their ends. The arguments of the
functions here are SQL, and so is what they return.
"""

CHUNK_EVENTS = 500  # at most; even so many fit into the buffer of a client of the streams


def holding(account_id: str, after: str, upto: str) -> str:
    """Is a chunk one of those that hold the account's events in `after < seq ≤ upto`?

    An index finds it by `last`, which is not far from an event in it.
    """
    nearest = f"{upto} + bigint '{CHUNK_EVENTS}'"
    return f"account_id = {account_id} and last > {after} and last < {nearest} and first <= {upto}"


def between(account_id: str, after: str, upto: str) -> str:
    """The account's events in `after < seq ≤ upto`: (`seq`, `type`, `line`, `last` of its chunk).

    A line begins with its type, which is cut out without parsing the rest of it.
    """
    return f"""(
        select first + place - 1 as seq, split_part(line, '"', 4) as type, line, last
          from event_chunks cross join lateral string_to_table(body, chr(10)) with ordinality as event (line, place)
         where {holding(account_id, after, upto)} and first + place - 1 > {after} and first + place - 1 <= {upto}
    )"""
