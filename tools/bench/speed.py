"""Measures how fast texts are made: hosted, in QEMU, and by llama.cpp on the same files.

Three parts come from here: `hosted` and `types` compare with llama.cpp, `tcg` measures the image in
QEMU, and `clients` measures several texts at once. Every repeat has a prompt of its own, so that no
computed prefix serves two of them. A row's figure is a median.
"""
import contextlib
import time
from dataclasses import dataclass, replace

from . import client, comparison, files, prompts
from .common import BenchError, check_time, here, knows, median, progress, ratio, rounded
from .servers import Guest, Hosted
from .tables import table

CONTEXT = 512


@dataclass(frozen=True)
class Plan:
    """How much of one model is measured."""

    prompt: int = 128  # tokens
    decode: int = 32  # tokens
    repeats: int = 2
    warm_s: float = 4.0  # limit for tuning before the measurement
    warm_tokens: int = 32  # of one text during that time
    # Tokens of its prompt. The first batch runs at level 0: long ones take minutes for K-quants
    # under TCG.
    warm_prompt: int = 8


def warm_up(server, path, plan, seed=0):
    """Generates until the optimiser tries nothing new or the time is over. Returns the tokens."""
    began, made, tried = time.monotonic(), 0, None
    for text, _ in prompts.make(path, 6, plan.warm_prompt, seed=f"warm {seed}"):
        made += client.stream(server.port, text, plan.warm_tokens, files.enders(path), plan.warm_s).tokens
        now = client.profile(server.port).get("jit", {}).get("candidates_tried")
        if time.monotonic() - began > plan.warm_s or now == tried:
            break
        tried = now
    return made


def one_text(server, path, plan, prompt):
    text = client.stream(server.port, prompt, plan.decode, files.enders(path), comparison.LIMIT_S)
    return {"prompt": text.prompt_rate, "decode": text.decode_rate, "first_token_s": text.first_token_s}


def summary(samples, prefix=""):
    return {f"{prefix}{key}": rounded(median([s.get(key) for s in samples]), 3) for key in samples[0]}


def pair_up(name, threads, plan, compare=True, settings=None):
    """A row of ours and llama.cpp, measured alternately on one file, with the same tokens.

    Both are warm and have the same number of threads.
    """
    path = files.path_of(name)
    asked = prompts.make(path, plan.repeats + 1, plan.prompt)
    row = {"model": name, "threads": threads, "prompt_tokens": plan.prompt, "decode_tokens": plan.decode}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Hosted(path, threads, {"context": CONTEXT, **(settings or {})}))
        row["health_s"] = rounded(ours.wait_healthy(), 3)
        theirs = None
        if compare:
            theirs = stack.enter_context(comparison.start(path, threads, CONTEXT, 1, asked[-1][1]))
        warm_up(ours, path, plan)
        mine, other = [], []
        for text, ids in asked[:plan.repeats]:
            mine.append(one_text(ours, path, plan, text))
            if theirs:
                other.append(theirs.generate(ids, plan.decode))
        row |= summary(mine) | {"samples": mine}
        row |= ours.memory()
        row["command"] = ours.command
        if theirs:
            row |= summary(other, "llama_cpp_") | {"llama_cpp_samples": other}
            # The median of the pairs' ratios, not the ratio of the medians: a slow moment of the
            # machine slows both sides of a pair.
            for key in ("decode", "prompt"):
                row[f"{key}_ratio"] = rounded(median([ratio(a[key], b[key]) for a, b in zip(mine, other)]), 3)
            row["llama_cpp_command"] = here(theirs.command)
            row["llama_cpp_peak_rss_bytes"] = theirs.memory()["peak_rss_bytes"]
            row["llama_cpp_plain"] = comparison.plain()
    progress(f"hosted {name}, {threads} threads: decode {row['decode']}, prompt {row['prompt']} tokens/s"
             + (f"; llama.cpp {row['llama_cpp_decode']}, {row['llama_cpp_prompt']}" if theirs else ""))
    return row


def skipped(name, error, **more):
    progress(f"{name}: left out: {error}")
    return {"model": name, **more, "skipped": str(error)}


def hosted_rows(args, jobs, compare):
    rows = []
    for name, threads, plan in jobs:
        try:
            check_time(args)
            rows.append(pair_up(name, threads, plan, compare))
        except BenchError as error:
            rows.append(skipped(name, error, threads=threads))
    return rows


def comparing(args):
    why_not = "left out by --no-llama-cpp" if args.no_llama_cpp else comparison.missing()
    if why_not:
        progress(why_not)
    return not why_not


def hosted(args):
    """Default model, SmolLM2 and the TinyLlama shape, alternating with llama.cpp."""
    small, large = Plan(decode=128, repeats=3, warm_s=3), Plan(repeats=3)
    if args.quick:
        small, large = replace(small, repeats=2), replace(large, repeats=2)
    names = ["stories", "smollm2"] + [f"tinyllama-{kind}" for kind in files.FULL_TYPES]
    threads = (2,) if args.quick else (1, 2)
    jobs = [(name, t, large if name.startswith("tinyllama") else small)
            for name in names if not (args.quick and name == "tinyllama-F16") for t in threads]
    return {"rows": hosted_rows(args, jobs, comparing(args))}


def types(args):
    """The other weight types, on a few layers of TinyLlama's shape, alternating with llama.cpp."""
    plan = Plan(prompt=64, decode=16, repeats=1 if args.quick else 2, warm_s=2)
    kinds = ("Q4_1", "Q5_0", "Q5_K") if args.quick else files.OTHER_TYPES
    return {"rows": hosted_rows(args, [(f"tinyllama{files.OTHER_LAYERS}-{kind}", 2, plan) for kind in kinds],
                                comparing(args))}


def add_scaling(rows, key):
    """Adds the speed of two processors over that of one; `key` is the column that counts them."""
    one = {(row["model"], row.get("jit")): row.get("decode") for row in rows if row.get(key) == 1}
    for row in rows:
        if row.get(key) == 2:
            row["scaling"] = rounded(ratio(row.get("decode"), one.get((row["model"], row.get("jit")))), 2)


def rss_mib(rows):
    for row in rows:
        for key in ("peak_rss_bytes", "anonymous_bytes"):
            if row.get(key):
                row[key.replace("bytes", "mib")] = row[key] >> 20
    return rows


HOSTED_COLUMNS = (
    ("model", "model"), ("threads", "threads"), ("decode", "decode"), ("llama_cpp_decode", "llama.cpp"),
    ("decode_ratio", "ratio"), ("prompt_tokens", "prompt of"), ("prompt", "prompt"), ("llama_cpp_prompt", "llama.cpp"),
    ("prompt_ratio", "ratio"), ("first_token_s", "first token s"), ("peak_rss_mib", "peak RSS MiB"),
    ("anonymous_mib", "not the file's"), ("scaling", "2 threads / 1"), ("skipped", "left out"))


def show_hosted(result):
    add_scaling(result["rows"], "threads")
    return "  tokens/s\n" + table(rss_mib(result["rows"]), HOSTED_COLUMNS)


# ---------------------------------------------------------------- in QEMU

# What others and an earlier program reached under TCG, on another machine (an AMD EPYC, Zen 4, two
# cores). The goals come from these figures; they say nothing about this machine.
REFERENCE_ORIGIN = "llama-server in a Linux guest, measured on another machine (2 cores of an AMD EPYC, Zen 4)"
REFERENCE = {
    ("15m-Q8_0", 1): {"decode": "8-10"}, ("15m-Q8_0", 2): {"decode": "15-17", "prompt": "42"},
    ("15m-Q4_0", 1): {"decode": "4.8"}, ("15m-Q4_0", 2): {"decode": "10", "prompt": "58"},
    ("260k-F32", 1): {"decode": "105-155 (goal: over 200)"},
}


# Compiled kernels only, and no vector instructions, which are slow in an emulator.
COMPILED = {"jit": "baseline", "jit.isa": "sse2"}


def guest_row(name, smp, plan, jit, cpu="max"):
    path = files.path_of(name)
    asked = prompts.make(path, plan.repeats, plan.prompt)
    settings = {"threads": smp, "context": CONTEXT, **jit}
    model = None if name == "stories" else path
    with Guest(model, smp=smp, cpu=cpu, settings=settings) as guest:
        row = {"model": name, "smp": smp, "jit": " ".join(f"{key}={value}" for key, value in jit.items()) or "jit=full", "cpu": cpu, "prompt_tokens": plan.prompt,
               "decode_tokens": plan.decode, "health_s": rounded(guest.wait_healthy(), 2)}
        row["warm_tokens"] = warm_up(guest, path, plan) if plan.warm_s else 0
        samples = [one_text(guest, path, plan, text) for text, _ in asked]
        memory = guest.memory()
        row |= summary(samples) | {"samples": samples, "memory": memory, "command": guest.command}
        if memory:
            row["used_mib"] = (memory["total_bytes"] - memory["free_bytes"]) >> 20
            row["beside_model_mib"] = (memory["total_bytes"] - memory["free_bytes"] - memory["model_bytes"]) >> 20
    reference = REFERENCE.get((name, smp), {})
    row |= {f"reference_{key}": value for key, value in reference.items()}
    progress(f"QEMU {name}, -smp {smp}, {row['jit']}: decode {row['decode']}, prompt {row['prompt']} tokens/s")
    return row


def guest_rows(args, jobs):
    rows = []
    for name, smp, plan, jit in jobs:
        try:
            check_time(args)
            rows.append(guest_row(name, smp, plan, jit))
        except BenchError as error:
            rows.append(skipped(name, error, smp=smp))
    return rows


def tcg(args):
    """All models under TCG. The rows with jit=baseline jit.isa=sse2 use compiled kernels only."""
    small = Plan(prompt=100, decode=48, repeats=2, warm_s=8, warm_tokens=64)
    middle = Plan(prompt=64, decode=16, repeats=1, warm_s=10, warm_tokens=16)
    large = Plan(prompt=8, decode=5, repeats=1, warm_s=6, warm_tokens=8, warm_prompt=3)
    if args.quick:
        small, middle = replace(small, repeats=1, warm_s=4), replace(middle, prompt=32, decode=8, warm_s=4)
    jobs = []
    for smp in (1, 2):
        jobs += [(name, smp, small, COMPILED) for name in ("15m-Q8_0", "15m-Q4_0")]
        jobs += [("stories", smp, small, {})]
    jobs += [("260k-F32", 1, small, COMPILED)]
    for smp in ((2,) if args.quick else (1, 2)):
        jobs += [("smollm2", smp, middle, {})]
    kinds = ("Q4_0",) if args.quick else ("Q4_0", "Q8_0")
    for smp in ((2,) if args.quick else (1, 2)):
        jobs += [(f"tinyllama-{kind}", smp, large, {}) for kind in kinds]
    if not args.quick:
        jobs += [("tinyllama-Q4_K", 2, large, {})]
    return {"rows": guest_rows(args, jobs), "reference": REFERENCE_ORIGIN}


TCG_COLUMNS = (
    ("model", "model"), ("smp", "-smp"), ("jit", "jit"), ("decode", "decode"), ("reference_decode", "elsewhere*"),
    ("prompt_tokens", "prompt of"), ("prompt", "prompt"), ("reference_prompt", "elsewhere*"),
    ("first_token_s", "first token s"), ("health_s", "health s"), ("used_mib", "memory MiB"),
    ("beside_model_mib", "beside model"), ("scaling", "2 CPUs / 1"), ("skipped", "left out"))


def show_tcg(result):
    add_scaling(result["rows"], "smp")
    return (f"  tokens/s; jit=baseline jit.isa=sse2: compiled kernels only\n{table(result['rows'], TCG_COLUMNS)}\n"
            f"  * {result['reference']}")


# ---------------------------------------------------------------- many clients

CLIENTS = (1, 2, 4, 8)


def client_row(server, path, clients, plan, between_s, turn=0):
    asked = [text for text, _ in prompts.make(path, clients, plan.prompt, seed=f"clients {clients} {turn}")]
    texts = client.together(server.port, asked, plan.decode, files.enders(path), between_s=between_s)
    rate, joined = client.aggregate(texts)
    return {"clients": clients, "total": rounded(rate, 3), "together": joined if clients > 1 else None}


def clients_hosted(name, threads, plan, compare, counts):
    path = files.path_of(name)
    rows = []
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Hosted(path, threads, {"context": CONTEXT, "slots": 8, "queue": 8}))
        ours.wait_healthy()
        theirs = None
        probe = prompts.make(path, 8, plan.prompt, seed="theirs")
        if compare:
            theirs = stack.enter_context(comparison.start(path, threads, CONTEXT, 8, probe[0][1]))
        warm_up(ours, path, Plan(warm_s=plan.warm_s, warm_tokens=plan.warm_tokens))
        client_row(ours, path, 8, replace(plan, decode=max(4, plan.decode // 4)), 0)
        for clients in counts:
            mine, other, alone = [], [], []
            for turn in range(plan.repeats):
                mine.append(client_row(ours, path, clients, plan, 0, turn + 1))
                if theirs and clients == 8:
                    other.append(theirs.together([ids for _, ids in probe], plan.decode))
                if clients == 8:
                    alone.append(prompt_at_batch_8(ours, path, plan, turn))
            row = {"model": name, "where": f"hosted, {threads} threads", "clients": clients,
                   "total": rounded(median([m["total"] for m in mine]), 3),
                   "together": mine[0]["together"], "command": ours.command}
            if other:
                row["llama_cpp_total"] = rounded(median(other), 3)
                row["ratio"] = rounded(median([ratio(m["total"], o) for m, o in zip(mine, other)]), 3)
                row["llama_cpp_command"] = theirs.command
            for key in alone[0] if alone else ():
                row[key] = rounded(median([a[key] for a in alone]), 3)
                row[f"{key}_ratio"] = rounded(median([ratio(m["total"], a[key]) for m, a in zip(mine, alone)]), 3)
            rows.append(row)
            progress(f"clients {name}, hosted: {clients}: {row['total']} tokens/s"
                     + (f"; llama.cpp {row.get('llama_cpp_total')}" if other else ""))
    return rows


def clients_guest(name, smp, plan, counts):
    path = files.path_of(name)
    rows = []
    settings = {"threads": smp, "context": CONTEXT, "slots": 8, "queue": 8}
    with Guest(None if name == "stories" else path, smp=smp, settings=settings) as guest:
        guest.wait_healthy()
        warm_up(guest, path, plan)
        for clients in counts:
            row = client_row(guest, path, clients, plan, 0.05)
            rows.append({"model": name, "where": f"QEMU, -smp {smp}", **row, "command": guest.command})
            progress(f"clients {name}, QEMU -smp {smp}: {clients}: {row['total']} tokens/s")
    return rows


def prompt_at_batch_8(server, path, plan, turn):
    """Our own prompt speed with batches of eight tokens, to compare eight clients with.

    `own_prompt` is measured at the positions that the clients' texts have half-way, after a prefix
    that was computed before. `own_prompt_at_begin` is measured at the first positions, where
    attention costs nothing yet. The prompts are new ones.
    """
    there = []
    for beginning, whole in prompts.extended(path, 5, plan.prompt + plan.decode // 2, 8, seed=f"batch 8 {turn}"):
        one_text(server, path, replace(plan, decode=2), beginning)
        there.append(one_text(server, path, replace(plan, decode=2), whole)["prompt"])
    begin = [one_text(server, path, replace(plan, decode=2), text)["prompt"]
             for text, _ in prompts.make(path, 5, 9, seed=f"batch 8 {turn}")]
    return {"own_prompt": median(there), "own_prompt_at_begin": median(begin)}


def clients(args):
    """Tokens/s of 1 to 8 clients together; llama.cpp's batch of 8; our prompt speed at batch 8."""
    compare = comparing(args)
    if not knows("slots"):
        progress("the program has no `slots`: its clients are served one after the other")
    small, large = (Plan(prompt=16, decode=96, repeats=2, warm_s=3),
                    Plan(prompt=16, decode=16, repeats=1 if args.quick else 2, warm_s=3, warm_tokens=16))
    rows = []
    # The fastest model makes long texts: its clients have to generate at the same time for a while.
    jobs = [("stories", replace(small, decode=440)), ("smollm2", small), ("tinyllama-Q4_0", large), ("tinyllama-Q8_0", large)]
    for name, plan in jobs[:3] if args.quick else jobs:
        counts = (1, 8) if args.quick or name == "tinyllama-Q8_0" else CLIENTS
        try:
            check_time(args)
            made = clients_hosted(name, 2, plan, compare, counts)
            rows += made
        except BenchError as error:
            rows.append(skipped(name, error, where="hosted"))
    guests = [("stories", replace(small, decode=64, repeats=1, warm_s=5)),
              ("smollm2", replace(large, prompt=8, decode=8, warm_s=8))]
    for name, plan in guests[:1] if args.quick else guests:
        try:
            check_time(args)
            rows += clients_guest(name, 2, plan, (1, 8) if args.quick else CLIENTS)
        except BenchError as error:
            rows.append(skipped(name, error, where="QEMU"))
    return {"rows": rows}


def show_clients(result):
    return "  tokens/s of all clients together\n" + table(result["rows"], (
        ("model", "model"), ("where", "where"), ("clients", "clients"), ("total", "total"), ("together", "at once"),
        ("llama_cpp_total", "llama.cpp, batch 8"), ("ratio", "ratio"), ("own_prompt", "own prompt, batch 8"),
        ("own_prompt_ratio", "ratio"), ("own_prompt_at_begin", "at its begin"), ("own_prompt_at_begin_ratio", "ratio"), ("skipped", "left out")))
