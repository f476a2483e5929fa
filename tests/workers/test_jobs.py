"""The names of messages, which Redis holds in one hash: two of one name would be one message."""

import subprocess
import sys

PROGRAM = """
import asyncio, os, sys
from engine.jobs import Actor, Queue, enqueue

class Pipe:
    async def __aenter__(self): return self
    async def __aexit__(self, *_): pass
    def hset(self, _key, mapping): os.write(1, b" ".join(mapping) + b"\\n")  # whole, beside the others'
    def rpush(self, *_): pass
    async def execute(self): pass

class Redis:
    def pipeline(self, transaction): return Pipe()

pids = [os.fork() for _ in range(2)]
asyncio.run(enqueue(Redis(), Queue.DIAL, Actor.PLACE_CALL, [[1], [2]]))
if all(pids):
    for pid in pids:
        os.waitpid(pid, 0)
"""


def test_forks_of_one_process_give_names_of_their_own() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert len(set(names)) == len(names) == 2 * 4
