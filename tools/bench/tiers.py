"""Measures what the optimiser is worth, for each model at each place (hosted or TCG).

A row has the tokens/s of four modes: tier 0 (jit=off), the rule of thumb (jit=baseline), the SSE2
rule (in an emulator), and the full search. For the search it also says how long the climb took,
what it cost and what was chosen. Hosted rows are compared with llama.cpp.
"""
import contextlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import gguf_format

from . import client, comparison, files, prompts
from .common import BenchError, check_time, median, progress, ratio, rounded
from .servers import Guest, Hosted
from .speed import CONTEXT, comparing, skipped
from .timeline import final_speed, lost_seconds, settled_at, timeline

# "compiled" is the rule without vector instructions. It is the better one in an emulator and is
# measured there only.
MODES = ("off", "baseline", "compiled", "full")
PROMPTS = 6
REST_LIMIT_S = 25  # limit for the search to try its last candidate in idle time


@dataclass(frozen=True)
class Plan:
    """How long one model is measured at one place.

    It makes texts of `tokens` tokens, one after the other. Each starts at the first position, so
    that all have the same context lengths.
    """

    tokens: int
    climb_s: float  # limit for the climb: texts under load while the search goes on
    steady_s: float  # limit for measuring the speed afterwards; a steady speed ends it earlier
    prompt: int = 8  # tokens
    least: int = 3  # tokens of a text, even if they take long
    look_s: float = 0.25  # between two looks at /profile in the climb; four without news end it


# ---------------------------------------------------------------- one server


def one_text(server, path, plan, number, seconds):
    made = prompts.make(path, PROMPTS, plan.prompt, seed="jit")
    return client.stream(server.port, made[number % len(made)][0], plan.tokens, files.enders(path),
                         max(seconds, 0.5), least=plan.least)


def speed_of(texts):
    """The median text's speed; of one or two texts, all their tokens over all their time."""
    rates = [text.decode_rate for text in texts if text.decode_rate]
    if len(rates) >= 3:
        return median(rates)
    spans = [(text.tokens - 1) / text.decode_rate for text in texts if text.decode_rate]
    return sum(text.tokens - 1 for text in texts if text.decode_rate) / sum(spans) if spans else None


def stands(texts):
    """Is the speed steady? The last three of at least five texts are within 2 %.

    The texts must have taken more than half a second in all.
    """
    rates = [text.decode_rate or 0 for text in texts[-3:]]
    return len(texts) >= 5 and max(rates) <= 1.02 * min(rates) and texts[-1].times[-1] - texts[0].asked > 0.5


def steadily(server, path, plan):
    """Makes texts until their speed is steady, or the time is over."""
    texts, began = [], time.monotonic()
    while not texts or not stands(texts):
        left = plan.steady_s - (time.monotonic() - began)
        if left <= 0 and texts:
            break
        texts.append(one_text(server, path, plan, len(texts), left))
    return texts


def search_state(seen):
    jit = seen.get("jit", {})
    return jit.get("spent_ms"), jit.get("candidates_tried")


def climb(server, path, plan):
    """Makes texts until the search has tried nothing for four looks, or the time is over."""
    texts, state, began = [], None, time.monotonic()
    looked = changed = began
    while time.monotonic() - began < plan.climb_s and time.monotonic() - changed < 4 * plan.look_s:
        texts.append(one_text(server, path, plan, len(texts), plan.climb_s - (time.monotonic() - began)))
        if time.monotonic() - looked > plan.look_s:
            looked = time.monotonic()
            now = search_state(client.profile(server.port))
            if now != state:
                state, changed = now, looked
    return texts


def wait_for_rest(server, limit_s=REST_LIMIT_S):
    """Waits until no candidate remains and the read bandwidth is known.

    Returns (whether that happened within the limit, seconds).
    """
    began, before = time.monotonic(), None
    while time.monotonic() - began < limit_s:
        seen = client.profile(server.port)
        now = search_state(seen)
        if now == before and seen.get("memory", {}).get("read_bytes_per_second"):
            with contextlib.suppress(OSError, ValueError):
                _, body = client.request(server.port, "POST", "/profile/optimize", timeout=20)
                if b'"more":false' in body.replace(b" ", b""):
                    return True, time.monotonic() - began
        before = now
        time.sleep(0.2)
    return False, time.monotonic() - began


def weight_bytes(path):
    """Bytes of weights that one token reads: all matrices.

    The embedding counts only if it is the output, too: otherwise a token reads one row of it.
    """
    tensors = [t for t in gguf_format.Reader(path).tensors if len(t.dims) > 1]
    has_output = any(t.name == "output.weight" for t in tensors)
    return sum(t.bytes for t in tensors if not (has_output and t.name == "token_embd.weight"))


def verdicts_of(seen):
    verdicts = {}
    for candidate in seen.get("candidates", []):
        verdicts[candidate["verdict"]] = verdicts.get(candidate["verdict"], 0) + 1
    return verdicts


def measure(server, path, plan, mode):
    """Measures one mode at one place, from the start of the program."""
    server.wait_healthy()
    began = time.monotonic()
    climbing, result = [], {}
    if mode == "full":
        climbing = climb(server, path, plan)
        result["climb_s"] = rounded(time.monotonic() - began, 1)
        result["rested"], waited = wait_for_rest(server)
        result["idle_s"] = rounded(waited, 1)
    steady = steadily(server, path, plan)
    result |= {"speed": rounded(speed_of(steady), 3), "tokens": sum(text.tokens for text in climbing + steady),
               "command": server.command}
    if mode in ("full", "baseline"):
        seen = client.profile(server.port)
        result["functions"] = seen.get("functions", [])
    if mode == "full":
        points, final = timeline(climbing), final_speed(timeline(steady)) or speed_of(steady)
        seconds, tokens = settled_at(timeline(climbing + steady), began, final)
        read = seen.get("memory", {}).get("read_bytes_per_second")
        jit = {key: value for key, value in seen.get("jit", {}).items() if key != "thresholds"}
        result |= {"settled_s": rounded(seconds, 2), "settled_tokens": tokens,
                   "lost_s": rounded(lost_seconds(points, final), 2), "jit_figures": jit,
                   "verdicts": verdicts_of(seen), "read_gbytes": rounded(read / 1e9, 2) if read else None,
                   "decode_gbytes": rounded(speed_of(steady) * weight_bytes(path) / 1e9, 3)}
        result["read_percent"] = rounded(ratio(100 * result["decode_gbytes"], result["read_gbytes"]), 1)
    return result


def beside_llama_cpp(server, path, threads, plan, pairs=3):
    """Decodes alternately, both warm: our median, theirs, and the median of the pairs' ratios."""
    asked = prompts.make(path, PROMPTS, plan.prompt, seed="jit")
    mine, theirs = [], []
    with comparison.start(path, threads, CONTEXT, 1, asked[0][1]) as other:
        for i in range(pairs):
            mine.append(one_text(server, path, plan, i, comparison.LIMIT_S).decode_rate)
            theirs.append(other.generate(asked[i][1], plan.tokens)["decode"])
    ratios = [ratio(a, b) for a, b in zip(mine, theirs)]
    return {"beside": rounded(median(mine), 3), "llama_cpp": rounded(median(theirs), 3),
            "over_llama_cpp": rounded(median(ratios), 3), "llama_cpp_plain": comparison.plain()}


# ---------------------------------------------------------------- places


@dataclass(frozen=True)
class Place:
    """Where the program runs. `isa` is the value of jit.isa; None: what the processor offers."""

    kind: str  # "hosted" or "tcg"
    processors: int
    cpu: str = "max"
    isa: str = None

    @property
    def shown(self):
        if self.kind == "hosted":
            return f"hosted, {self.processors} thr." + (f", {self.isa}" if self.isa else "")
        return f"TCG {self.cpu}, -smp {self.processors}"

    def server(self, name, path, mode, state=None):
        settings = {"context": CONTEXT, "jit": mode, "jit.isa": self.isa}
        if mode == "compiled":
            settings |= {"jit": "baseline", "jit.isa": "sse2"}
        if self.kind == "hosted":
            return Hosted(path, self.processors, settings, state=state)
        return Guest(None if name == "stories" else path, smp=self.processors, cpu=self.cpu,
                     settings={"threads": self.processors, **settings}, state=state)


def same_as(place, mode):
    """The (place, mode) that runs the same code by construction, so that one figure serves both.

    Tier 0 is the same code whatever CPUID and jit.isa say. The rule of qemu64 is SSE2, as in the
    mode `compiled`. None if the mode has to be measured.
    """
    if mode == "off" and place.isa:
        return replace(place, isa=None), "off"
    if mode == "off" and place.cpu == "qemu64":
        return replace(place, cpu="max"), "off"
    if mode == "baseline" and place.cpu == "qemu64":
        return replace(place, cpu="max"), "compiled"
    return None


def sets_of_this_processor():
    """Values of jit.isa that this processor has, the smallest first.

    The last is what it is without the setting (compute/kernels/registry.cpp).
    """
    line = re.search(r"^flags\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = set(line[1].split()) if line else set()
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}
    needs = {"sse2": set(), "ssse3": {"ssse3"}, "avx2": {"avx2", "fma", "f16c"}, "avx_vnni": {"avx_vnni"},
             "avx512": wide, "amx": wide | {"amx_tile", "amx_int8"}}
    return [name for name, needed in needs.items() if needed <= flags]


def tiers(name, place, plan, known, compare=False):
    """A row: all modes at one place. `known` has the figures so far, by (name, place, mode)."""
    path, began = files.path_of(name), time.monotonic()
    row = {"model": name, "where": place.shown, "modes": {}, "same": []}
    for mode in MODES:
        if mode == "compiled" and (place.kind != "tcg" or place.cpu == "qemu64"):
            continue
        twin = same_as(place, mode)
        if twin and (name, *twin) in known:
            row["modes"][mode] = {key: known[name, *twin][key] for key in ("speed", "tokens", "command")}
            row["same"].append({"off": "tier 0", "baseline": "rule"}[mode])
        else:
            with place.server(name, path, mode) as server:
                row["modes"][mode] = measure(server, path, plan, mode)
                if mode == "full" and compare:
                    row |= beside_llama_cpp(server, path, place.processors, plan)
            known[name, place, mode] = row["modes"][mode]
        row[mode] = row["modes"][mode]["speed"]
    full = row["modes"]["full"]
    row |= {"over_rule": rounded(ratio(row["full"], row["baseline"]), 2),
            "over_tier_0": rounded(ratio(row["full"], row["off"]), 2),
            "tuning_ms": rounded(full["jit_figures"].get("spent_ms"), 0),
            "compile_ms": rounded(full["jit_figures"].get("compile_ms"), 1),
            "tried": full["jit_figures"].get("candidates_tried"),
            "untried": full["jit_figures"].get("candidates_left_out"),
            "tuning_percent": rounded(ratio(full["jit_figures"].get("spent_ms"), 10 * (full["climb_s"] + full["idle_s"])), 1),
            "same": ", ".join(row["same"]) or None, "took_s": rounded(time.monotonic() - began, 1)}
    row |= {key: full[key] for key in ("settled_s", "settled_tokens", "lost_s", "climb_s", "idle_s", "rested",
                                       "decode_gbytes", "read_gbytes", "read_percent")}
    progress(f"{name}, {place.shown}: {row['off']} -> {row['baseline']} -> {row['full']} tokens/s")
    return row


# ---------------------------------------------------------------- the parts

SMALL = ("stories", "15m-Q8_0", "15m-Q4_0", "smollm2")
TINY = ("tinyllama-Q4_0", "tinyllama-Q8_0", "tinyllama-Q4_K")
HOSTED_PLANS = {"stories": Plan(128, 3, 1.5), "15m-Q8_0": Plan(128, 3, 1.5), "15m-Q4_0": Plan(128, 3, 1.5),
                "smollm2": Plan(64, 4, 2)} | {name: Plan(24, 4, 2, prompt=2) for name in TINY}
# A token of TinyLlama's shape takes seconds at tier 0 and by AVX2's rule, so its texts are short.
TCG_PLANS = {"stories": Plan(96, 8, 3, look_s=1), "15m-Q8_0": Plan(48, 10, 3, look_s=1),
             "15m-Q4_0": Plan(48, 10, 3, look_s=1), "smollm2": Plan(24, 12, 3, prompt=4, look_s=1)}
TCG_PLANS |= {name: Plan(8, 12, 6, prompt=2, look_s=1) for name in TINY}


def run(args, jobs, plans, compare=False):
    """Measures the jobs, (name, place), the most important first. The rows are sorted by model."""
    rows, known = [], {}
    for name, place in jobs:
        try:
            check_time(args)
            beside = compare and not place.isa
            rows.append(tiers(name, place, plans[name], known, beside))
        except BenchError as error:
            rows.append(skipped(name, error, where=place.shown))
    order = list(plans)
    return sorted(rows, key=lambda row: order.index(row["model"]))


def hosted(args):
    names = [name for name in HOSTED_PLANS if not (args.quick and name in TINY[1:])]
    threads = (2,) if args.quick else (1, 2)
    sets = sets_of_this_processor()
    jobs = [(name, Place("hosted", count)) for name in names for count in threads]
    notes = []
    for isa in () if args.quick else ("sse2", "avx2", "avx512"):
        if isa == sets[-1]:
            notes.append(f"jit.isa={isa} is what this processor offers: the rows without it")
        elif isa not in sets:
            notes.append(f"jit.isa={isa}: this processor has no such instructions")
        else:
            jobs += [(name, Place("hosted", count, isa=isa)) for name in names for count in threads]
    return {"rows": run(args, jobs, HOSTED_PLANS, comparing(args)), "notes": notes, "sets": " ".join(sets)}


def tcg(args):
    names = [name for name in TCG_PLANS if not (args.quick and name in TINY[1:])]
    jobs = [(name, Place("tcg", 2)) for name in names]
    if not args.quick:
        jobs += [(name, Place("tcg", 1)) for name in names]
        jobs += [(name, Place("tcg", count, "qemu64")) for count in (2, 1) for name in names]
    return {"rows": run(args, jobs, TCG_PLANS), "notes": []}
