"""Measures llama.cpp, through a worker in the Python environment of `make setup-bench`."""
import contextlib
import json
import os
import select
import subprocess
import tempfile
from pathlib import Path

from .common import BUILD, BenchError, progress, shown
from .servers import process_memory

WORKER = Path(__file__).resolve().parent / "llama_cpp_worker.py"
# A Python that has llama_cpp.
PYTHON = Path(os.environ.get("BAREFLOW_REFERENCE_PYTHON", BUILD / "reference-venv/bin/python"))
ANSWER_TIMEOUT_S = 120
LIMIT_S = 20  # for one measurement: on a busy machine two threads may be very slow

# True after llama.cpp has crashed with its own packings of the weights: from then on it is measured
# without them. Each row says so.
_plain = False


def missing():
    """Why llama.cpp cannot be measured; "" if it can."""
    if PYTHON.exists():
        return ""
    return "llama.cpp is not here (`make setup-bench` builds it): our figures stand alone"


def plain():
    return _plain


class Crashed(BenchError):
    """A signal ended the worker."""


class LlamaCpp:
    """One model in llama.cpp, which waits between measurements. Made by start()."""

    def __init__(self, model, threads, context, sequences=1):
        words = ["plain"] if _plain else []
        command = [PYTHON, WORKER, model, threads, context, sequences, *words]
        self.command = shown(command)
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1)
        hello = self._answer()
        self.version, self.system = hello["version"], hello["system"]

    def _answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_TIMEOUT_S)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        if not ready:
            self.process.kill()
            raise BenchError(f"llama.cpp gave no answer in {ANSWER_TIMEOUT_S} s: {self.command}")
        code = self.process.wait()
        self.errors.seek(0)
        tail = self.errors.read().decode(errors="replace").strip().rpartition("\n")[2][-200:]
        raise (Crashed if code < 0 else BenchError)(f"llama.cpp ended with {code}: {tail}")

    def ask(self, **command):
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass
        return self._answer()

    def generate(self, prompt, tokens):
        answer = self.ask(do="generate", prompt=prompt, tokens=tokens, limit_s=LIMIT_S)
        made = len(answer["tokens"])
        return {"prompt": len(prompt) / answer["prompt_s"], "decode": (made - 1) / answer["decode_s"]}

    def together(self, prompts, tokens):
        answer = self.ask(do="together", prompts=prompts, tokens=tokens, limit_s=LIMIT_S)
        return len(prompts) * answer["steps"] / answer["decode_s"]

    def memory(self):
        return process_memory(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def start(model, threads, context, sequences, probe):
    """A worker that has survived `probe`, a prompt: some builds crash in their kernels for AMX."""
    global _plain
    worker = LlamaCpp(model, threads, context, sequences)
    try:
        worker.generate(probe, 2)
        return worker
    except Crashed as error:
        worker.__exit__()
        if _plain:
            raise
        progress(f"{error}; going on without its own packings of the weights (use_extra_bufts)")
        _plain = True
        return start(model, threads, context, sequences, probe)
