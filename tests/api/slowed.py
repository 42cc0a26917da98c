"""A process that gets a third of the processor's time."""
import contextlib
import os
import signal
import threading
import time


@contextlib.contextmanager
def slowed(pid, run_s=0.004, stopped_s=0.008):
    over = threading.Event()

    def stop_and_go():
        while not over.wait(run_s):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(stopped_s)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
