"""What the optimiser is worth (`make bench-jit`): tokens/s at tier 0, at the rule of thumb and at full,
how long it takes to get there, what it costs, what it chose, and how a second boot starts."""
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import run as runner

from . import client, files, prompts
from .common import HOSTED, BenchError, knows, median, progress, ratio, rounded
from .servers import Guest, Hosted
from .speed import CONTEXT, skipped
from .tables import table

MODES = ("off", "baseline", "full")
SETTLED = 0.9  # of the final speed
WINDOW = 8  # tokens whose median time is the speed at a moment


@dataclass(frozen=True)
class Plan:
    """One measurement: texts of `tokens` tokens, one after the other, for `seconds`. Texts start
    over, so that all of them meet the same context lengths."""

    tokens: int
    seconds: float
    prompt: int = 8

    def of(self, mode):
        """There is nothing to wait for without tuning."""
        return self if mode == "full" else replace(self, seconds=self.seconds / 3)


# ---------------------------------------------------------------- a timeline of tokens


def timeline(texts):
    """[(when the token came, seconds since the one before in the same text)]; the first token of a
    text belongs to its prompt and is not in it."""
    return [(now, now - before) for text in texts for before, now in zip(text.times, text.times[1:])]


def final_interval(line):
    """Seconds a token at the end: the median of the last third."""
    return median([gap for _, gap in line[len(line) * 2 // 3:]]) if line else None


def settled_at(line, start):
    """(seconds, tokens) from the first request until the running median has 90 % of the final speed;
    None where there are too few tokens to say."""
    final = final_interval(line)
    width = min(WINDOW, max(1, len(line) // 4))
    if final is None or len(line) < 4:
        return None, None
    for end in range(width, len(line) + 1):
        if final >= SETTLED * median([gap for _, gap in line[end - width:end]]):
            return line[end - width][0] - start, end - width
    return None, None


def lost_seconds(line):
    """Time beyond what the same tokens would have taken at the final speed: slow code before tuning,
    and tuning itself. Counted up to the last third, which defines the final speed."""
    final = final_interval(line)
    head = line[:len(line) * 2 // 3]
    return sum(gap for _, gap in head) - final * len(head) if final else None


# ---------------------------------------------------------------- one server


def generate_for(server, path, plan):
    texts, began = [], time.monotonic()
    for text, _ in prompts.make(path, 24, plan.prompt, seed="jit"):
        left = plan.seconds - (time.monotonic() - began)
        if left <= 0 and texts:
            break
        texts.append(client.stream(server.port, text, plan.tokens, files.enders(path), max(left, 0.5)))
    return began, texts


def tuning_figures(seen):
    """What /profile says about tuning, whatever fields it has."""
    jit = dict(seen.get("jit", {}))
    jit.pop("thresholds", None)
    verdicts = {}
    for candidate in seen.get("candidates", []):
        verdicts[candidate["verdict"]] = verdicts.get(candidate["verdict"], 0) + 1
    return jit, verdicts


def measure(server, path, plan):
    server.wait_healthy()
    began, texts = generate_for(server, path, plan)
    line = timeline(texts)
    final = final_interval(line)
    seconds, tokens = settled_at(line, began)
    seen = client.profile(server.port)
    figures, verdicts = tuning_figures(seen)
    return {"speed": rounded(1 / final if final else None, 3), "tokens": len(line),
            "settled_s": rounded(seconds, 2), "settled_tokens": tokens, "lost_s": rounded(lost_seconds(line), 2),
            "first_32": rounded(ratio(1, median([gap for _, gap in line[:32]])), 3),
            "jit_figures": figures, "verdicts": verdicts, "functions": seen.get("functions", []),
            "command": server.command}


@dataclass(frozen=True)
class Place:
    """Where it runs. `isa`: what jit.isa says, None: what the processor offers."""

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
        if self.kind == "hosted":
            return Hosted(path, self.processors, settings, state=state)
        return Guest(None if name == "stories" else path, smp=self.processors, cpu=self.cpu,
                     settings={"threads": self.processors, **settings}, state=state)


def climb(name, place, plan):
    """All three tiers at one place."""
    path = files.path_of(name)
    row = {"model": name, "where": place.shown, "modes": {}}
    for mode in MODES:
        with place.server(name, path, mode) as server:
            row["modes"][mode] = measure(server, path, plan.of(mode))
        row[mode] = row["modes"][mode]["speed"]
    full = row["modes"]["full"]
    row |= {"over_rule": rounded(ratio(row["full"], row["baseline"]), 2),
            "over_tier_0": rounded(ratio(row["full"], row["off"]), 2),
            "settled_s": full["settled_s"], "settled_tokens": full["settled_tokens"], "lost_s": full["lost_s"],
            "tried": full["jit_figures"].get("candidates_tried")}
    progress(f"{name}, {place.shown}: {row['off']} -> {row['baseline']} -> {row['full']} tokens/s")
    return row


# ---------------------------------------------------------------- the second boot


def remembers(kind):
    """Whether the program keeps what it tuned, where it runs so."""
    if kind == "tcg":
        return hasattr(runner, "make_state_disk")
    return "--state" in subprocess.run([str(HOSTED), "--help"], capture_output=True, text=True, check=True).stdout


def warm_boot(name, place, plan):
    """The first 32 tokens of a second boot against the speed that the first one ended with."""
    path = files.path_of(name)
    with tempfile.TemporaryDirectory(prefix="bareflow-bench-") as folder:
        state = Path(folder) / "state.img"
        if place.kind == "tcg":
            runner.make_state_disk(state, True)
        with place.server(name, path, "full", state) as server:
            first = measure(server, path, plan)
            time.sleep(3)  # the profile is saved in idle time
        with place.server(name, path, "full", state) as server:
            second = measure(server, path, replace(plan, tokens=max(34, plan.tokens), seconds=plan.seconds / 3))
            said = [text for text in server.said().splitlines() if re.search(r"profile", text)]
    row = {"model": name, "where": place.shown, "cold_first_32": first["first_32"], "ended_with": first["speed"],
           "warm_first_32": second["first_32"], "warm_ratio": rounded(ratio(second["first_32"], first["speed"]), 3),
           "warm_settled_s": second["settled_s"], "serial": said[:6], "commands": [first["command"], second["command"]]}
    progress(f"{name}, {place.shown}, second boot: {row['warm_first_32']} of {row['ended_with']} tokens/s")
    return row


# ---------------------------------------------------------------- the part

TINY = ("tinyllama-Q4_0", "tinyllama-Q8_0", "tinyllama-Q4_K")
HOSTED_PLANS = {"stories": Plan(128, 6), "15m-Q8_0": Plan(128, 6), "smollm2": Plan(96, 8)}
TCG_PLANS = {"stories": Plan(96, 12), "15m-Q8_0": Plan(64, 15), "smollm2": Plan(32, 20)}
HOSTED_PLANS |= {name: Plan(48, 9) for name in TINY}
TCG_PLANS |= {name: Plan(24, 30, prompt=4) for name in TINY}


def hosted_places(args):
    isas = ("sse2", "avx2", "avx512") if knows("jit.isa") else ()
    if not isas:
        progress("the program has no `jit.isa`: only what the processor offers is measured")
    places = [Place("hosted", threads) for threads in ((2,) if args.quick else (1, 2))]
    return places + [Place("hosted", 1, isa=isa) for isa in (isas[1:2] if args.quick else isas)]


def tcg_places(name, args):
    """The large model takes its time: one machine of it unless all is wanted."""
    every = [Place("tcg", smp, cpu) for cpu in ("max", "qemu64") for smp in (1, 2)]
    if args.all:
        return every
    if name in TINY:
        return [Place("tcg", 2)] if not args.quick or name == TINY[0] else []
    return [Place("tcg", 1)] if args.quick else every


def jit(args):
    rows = []
    for plans, places in ((HOSTED_PLANS, lambda _: hosted_places(args)), (TCG_PLANS, lambda n: tcg_places(n, args))):
        for name, plan in plans.items():
            if args.quick:
                plan = replace(plan, seconds=plan.seconds / 2)
            for place in places(name):
                try:
                    rows.append(climb(name, place, plan))
                except BenchError as error:
                    rows.append(skipped(name, error, where=place.shown))
    warm = []
    for place, plans in ((Place("hosted", 2), HOSTED_PLANS), (Place("tcg", 2), TCG_PLANS)):
        if not remembers(place.kind):
            progress(f"{place.kind}: the program keeps no profile across boots; no warm-boot figure")
            continue
        for name in ("15m-Q8_0",) if args.quick else ("15m-Q8_0", "smollm2"):
            try:
                warm.append(warm_boot(name, place, plans[name]))
            except BenchError as error:
                warm.append(skipped(name, error, where=place.shown))
    left_out = ("TinyLlama's shape under TCG only with -cpu max and -smp 2; jit.isa with one thread; "
                "--all measures the rest" if not args.all else "")
    return {"rows": rows, "warm": warm, "left_out": left_out}


def kernels(row):
    """What was chosen for the functions that cost most, from /profile after the full run."""
    functions = row.get("modes", {}).get("full", {}).get("functions", [])
    baseline = {f["name"]: f for f in row.get("modes", {}).get("baseline", {}).get("functions", [])}
    total = sum(f["total_cycles"] for f in functions) or 1
    result = []
    for f in sorted(functions, key=lambda f: -f["total_cycles"])[:8]:
        rule = baseline.get(f["name"], {})
        result.append({"function": f["name"], "level": f["level"], "variant": f["variant"] or "-",
                       "calls": f["calls"], "least": f["minimum_cycles"], "mean": f["average_cycles"],
                       "p99": f.get("p99_cycles"), "gmacs": f.get("gmac_per_second"), "gbs": f.get("gb_per_second"),
                       "percent": round(100 * f["total_cycles"] / total, 1),
                       "over_rule": rounded(ratio(rule.get("minimum_cycles"), f["minimum_cycles"]), 2)})
    return result


KERNEL_COLUMNS = (("function", "function"), ("level", "level"), ("variant", "variant"), ("calls", "calls"),
                  ("least", "least cycles"), ("mean", "mean"), ("p99", "p99"), ("gmacs", "GMAC/s"), ("gbs", "GB/s"),
                  ("percent", "% of time"), ("over_rule", "x rule"))


def show(result):
    out = ["  tokens/s; settled: until 90 % of the final speed; lost: against the final speed from the start",
           table(result["rows"], (
               ("model", "model"), ("where", "where"), ("off", "tier 0"), ("baseline", "rule"), ("full", "full"),
               ("over_rule", "x rule"), ("over_tier_0", "x tier 0"), ("settled_s", "settled s"),
               ("settled_tokens", "tokens"), ("lost_s", "lost s"), ("tried", "tried"), ("skipped", "left out")))]
    if result["left_out"]:
        out.append(f"  ({result['left_out']})")
    if result["warm"]:
        out += ["\n  second boot, tokens/s", table(result["warm"], (
            ("model", "model"), ("where", "where"), ("cold_first_32", "first boot, first 32"),
            ("ended_with", "it ended with"), ("warm_first_32", "second boot, first 32"), ("warm_ratio", "ratio"),
            ("skipped", "left out")))]
    for row in result["rows"]:
        if row.get("modes") and row["where"] in ("hosted, 2 thr.", "TCG max, -smp 2"):
            out += [f"\n  {row['model']}, {row['where']}: {row['modes']['full']['verdicts']}",
                    table(kernels(row), KERNEL_COLUMNS)]
    return "\n".join(out)
