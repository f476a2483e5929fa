"""A child process for the supervisor's tests: `python -m stand_in MODE …`."""

import os
import signal
import subprocess
import sys

from engine.embedded.lifeline import report_ready, watch_parent


def main() -> None:
    mode, *rest = sys.argv[1:] or ["normal"]
    if mode == "order":  # before there is a second thread, which would take the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    watch_parent()
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "mute":
        print("I say nothing of readiness", flush=True)
        signal.pause()
    if mode == "early":
        sys.exit("no database")
    if mode == "parent":  # a grandchild that outlives it holds the output pipe open
        grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print(f"grandchild {grandchild.pid}", flush=True)
    print(f"started {' '.join(rest)} {os.environ.get('GREETING', '')}".strip(), flush=True)
    report_ready(port=1234, pid=os.getpid(), url="ws://127.0.0.1:1234/media")
    if mode == "dies":
        print("last words", flush=True)
        sys.exit(3)
    if mode == "group":
        raise ExceptionGroup("tasks failed", [RuntimeError("the reason")])
    if mode == "order":  # a handler would be called too late if the signal came right before `pause`
        signal.sigwait({signal.SIGTERM})
        print("left", flush=True)
        sys.exit(0)
    signal.pause()


if __name__ == "__main__":
    main()
