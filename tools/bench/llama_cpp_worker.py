"""Runs llama.cpp for a measurement, by the low-level calls of llama-cpp-python.

It runs in build/reference-venv; comparison.py starts it.

usage: python llama_cpp_worker.py MODEL THREADS CONTEXT SEQUENCES [plain]

Commands on standard input, answers on standard output, one JSON object a line:
  {"do": "generate", "prompt": [..], "tokens": N, "limit_s": S}
      -> {"prompt_s", "decode_s", "tokens": [..]}
  {"do": "together", "prompts": [[..], ..], "tokens": N, "limit_s": S}
      -> {"decode_s", "steps"}
Sampling is greedy. The prompt's time ends with its logits. Decoding starts after the first token,
as for the clients of our server, and ends early after `limit_s` seconds. `plain`: without
llama.cpp's own packings of the weights.
"""
import json
import os
import sys
import time

import llama_cpp as llama
import numpy as np


class Worker:
    def __init__(self, path, threads, context, sequences, plain):
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        params.use_extra_bufts = not plain
        self.model = llama.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise SystemExit("the model can't be loaded")
        params = llama.llama_context_default_params()
        params.n_ctx = context * sequences
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("no context can be made")
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(512, 0, 1)

    def step(self, rows):
        """Computes a batch of (token, position, sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
        if llama.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")

    def best(self, index):
        logits = llama.llama_get_logits_ith(self.context, index)
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(self.vocabulary,))))

    def compute_prompt(self, prompt, sequence):
        """Computes a prompt; the best token after it."""
        last = len(prompt) - 1
        self.step([(token, i, sequence, i == last) for i, token in enumerate(prompt)])
        return self.best(last)

    def generate(self, prompt, tokens, limit_s):
        llama.llama_memory_clear(self.memory, True)
        began = time.perf_counter()
        made = [self.compute_prompt(prompt, 0)]
        prompted = time.perf_counter()
        for i in range(tokens - 1):
            self.step([(made[-1], len(prompt) + i, 0, True)])
            made.append(self.best(0))
            if time.perf_counter() - prompted > limit_s:
                break
        return {"prompt_s": prompted - began, "decode_s": time.perf_counter() - prompted, "tokens": made}

    def together(self, prompts, tokens, limit_s):
        llama.llama_memory_clear(self.memory, True)
        last = [self.compute_prompt(prompt, i) for i, prompt in enumerate(prompts)]
        began = time.perf_counter()
        for n in range(tokens):
            self.step([(token, len(prompts[i]) + n, i, True) for i, token in enumerate(last)])
            last = [self.best(i) for i in range(len(prompts))]
            if time.perf_counter() - began > limit_s:
                break
        return {"decode_s": time.perf_counter() - began, "steps": n + 1}


def main():
    path, threads, context, sequences = sys.argv[1], *map(int, sys.argv[2:5])
    # The library prints to standard output, too: that goes to standard error from here on.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(path, threads, context, sequences, "plain" in sys.argv[5:])
    print(json.dumps({"version": llama.__version__, "system": llama.llama_print_system_info().decode()}),
          file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "generate":
            answer = worker.generate(command["prompt"], command["tokens"], command["limit_s"])
        else:
            answer = worker.together(command["prompts"], command["tokens"], command["limit_s"])
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
