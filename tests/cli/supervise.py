"""A supervisor in a process of its own, to be killed: prints its children's pids, then waits for ever."""

import os
import signal
import sys

from engine.processes.supervisor import Supervisor

supervisor = Supervisor({}, lambda _name, _line: None, forks=sys.argv[1:])
for mode in ("normal", "mute"):
    supervisor.start(mode, "stand_in", {"PYTHONPATH": os.environ["PYTHONPATH"]}, [mode])
supervisor.wait_ready("normal")
print(*(child.pid for child in supervisor.running()), flush=True)
signal.pause()
