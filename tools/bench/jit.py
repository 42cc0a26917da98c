"""What the optimiser is worth (`make bench-jit`): tokens/s at tier 0, at the rule of thumb and at full,
how long it takes to get there, what it costs, what it chose, and how a second boot starts."""
import contextlib
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from . import client, files, prompts
from .common import BenchError, check_time, knows, median, progress, ratio, rounded
from .servers import Guest, Hosted
from .speed import CONTEXT, skipped
from .tables import table

# compiled: no vector instructions, which is the better rule in an emulator; measured there only.
MODES = ("off", "baseline", "compiled", "full")
SETTLED = 0.9  # of the final speed
# The shortest stretch of tokens that has a speed.
WINDOW_TOKENS = 4
WINDOW_S = 0.05


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


@dataclass(frozen=True)
class Point:
    """A token that came: when, and the seconds of decoding until then (prompts not counted)."""

    when: float
    spent: float


def timeline(texts):
    """A point for every token after the first of each text, which belongs to its prompt."""
    points, spent = [], 0.0
    for text in texts:
        for before, now in zip(text.times, text.times[1:]):
            spent += now - before
            points.append(Point(now, spent))
    return points


def windows(points):
    """[(first, last)]: stretches of points, one after the other, long enough to have a speed. Fast tokens
    come several in one piece, so a stretch has a time, too."""
    result, first = [], 0
    for last in range(1, len(points)):
        if last - first >= WINDOW_TOKENS and points[last].spent - points[first].spent >= WINDOW_S:
            result.append((first, last))
            first = last
    if not result and len(points) > 1 and points[-1].spent > points[0].spent:
        # So slow that every token stands for itself.
        result = [(i, i + 1) for i in range(len(points) - 1) if points[i + 1].spent > points[i].spent]
    return result


def speeds(points):
    """[(index of the first token, tokens/s)] of the stretches."""
    return [(first, (last - first) / (points[last].spent - points[first].spent)) for first, last in windows(points)]


def final_speed(points):
    """The median of the last third of the stretches."""
    every = speeds(points)
    return median([speed for _, speed in every[len(every) * 2 // 3:]])


def settled_at(points, start):
    """(seconds, tokens) from the first request until a stretch has 90 % of the final speed, and the next
    one, too; None where there is too little to say."""
    every, final = speeds(points), final_speed(points)
    for (index, speed), (_, following) in zip(every, every[1:]):
        if min(speed, following) >= SETTLED * final:
            return points[index].when - start, index
    return None, None


def lost_seconds(points):
    """Time beyond what the same tokens would have taken at the final speed: slow code before tuning,
    and tuning itself. Counted up to the last third, which defines the final speed."""
    final = final_speed(points)
    if not final:
        return None
    last = len(points) * 2 // 3
    return points[last].spent - (last + 1) / final


def first_speed(points, tokens=32):
    """Over the first so many tokens: the median of the stretches that lie in them."""
    inside = [speed for index, speed in speeds(points) if index < tokens]
    return median(inside)


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
    points = timeline(texts)
    seconds, tokens = settled_at(points, began)
    seen = client.profile(server.port)
    figures, verdicts = tuning_figures(seen)
    return {"speed": rounded(final_speed(points), 3), "tokens": len(points), "settled_s": rounded(seconds, 2),
            "settled_tokens": tokens, "lost_s": rounded(lost_seconds(points), 2),
            "first_32": rounded(first_speed(points), 3), "functions": seen.get("functions", []),
            "jit_figures": figures, "verdicts": verdicts, "command": server.command}


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
        if mode == "compiled":
            settings |= {"jit": "baseline", "jit.isa": "sse2"}
        if self.kind == "hosted":
            return Hosted(path, self.processors, settings, state=state)
        return Guest(None if name == "stories" else path, smp=self.processors, cpu=self.cpu,
                     settings={"threads": self.processors, **settings}, state=state)


def climb(name, place, plan):
    """All tiers at one place."""
    path = files.path_of(name)
    row = {"model": name, "where": place.shown, "modes": {}}
    for mode in MODES:
        if mode == "compiled" and place.kind != "tcg":
            continue
        with place.server(name, path, mode) as server:
            row["modes"][mode] = measure(server, path, plan.of(mode))
        row[mode] = row["modes"][mode]["speed"]
    full = row["modes"]["full"]
    row |= {"over_rule": rounded(ratio(row["full"], row["baseline"]), 2),
            "over_tier_0": rounded(ratio(row["full"], row["off"]), 2),
            "settled_s": full["settled_s"], "settled_tokens": full["settled_tokens"], "lost_s": full["lost_s"],
            "tuning_ms": rounded(full["jit_figures"].get("spent_ms"), 0),
            "compile_ms": rounded(full["jit_figures"].get("compile_ms"), 1),
            "tried": full["jit_figures"].get("candidates_tried"),
            "untried": full["jit_figures"].get("candidates_left_out")}
    progress(f"{name}, {place.shown}: {row['off']} -> {row['baseline']} -> {row['full']} tokens/s")
    return row


# ---------------------------------------------------------------- the second boot


def warm_boot(name, place, plan):
    """The first 32 tokens of a second boot against the speed that the first one ended with."""
    path = files.path_of(name)
    with tempfile.TemporaryDirectory(prefix="bareflow-bench-") as folder:
        state = Path(folder) / "state.img"
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


# ---------------------------------------------------------------- what profiling costs


def profiling(name, place, pairs):
    """Two programs, of which one counts nothing (profile=off), the same kernels (jit=baseline), texts in turns:
    per cent of tokens/s, of the fastest texts and of the median pair."""
    path = files.path_of(name)
    settings = {"context": CONTEXT, "jit": "baseline", "jit.isa": "sse2" if place.kind == "tcg" else None}
    with contextlib.ExitStack() as stack:
        servers = {}
        for mode in ("off", "on"):
            words = settings | {"profile": mode}
            server = Hosted(path, place.processors, words) if place.kind == "hosted" else \
                Guest(None if name == "stories" else path, smp=place.processors, settings=words)
            servers[mode] = stack.enter_context(server)
        for server in servers.values():
            server.wait_healthy()
        ratios, speed = [], {"on": [], "off": []}
        for i, (text, _) in enumerate(prompts.make(path, pairs + 2, 8, seed="profiling")):
            pair = {}
            for mode in ("on", "off") if i % 2 else ("off", "on"):
                made = client.stream(servers[mode].port, text, 96, files.enders(path))
                pair[mode] = made.decode_rate
            if i >= 2:  # the first ones are warming up
                ratios.append(ratio(pair["off"], pair["on"]))
                for mode, seen in speed.items():
                    seen.append(pair[mode])
        row = {"model": name, "where": place.shown, "pairs": len(ratios), "on": rounded(median(speed["on"]), 2),
               "off": rounded(median(speed["off"]), 2), "cost_percent": rounded(100 * (ratio(max(speed["off"]), max(speed["on"])) - 1), 2),
               "median_cost_percent": rounded(100 * (median(ratios) - 1), 2),
               "commands": [server.command for server in servers.values()]}
    progress(f"{name}, {place.shown}: profiling costs {row['cost_percent']} %")
    return row


def profiling_rows(args):
    rows = []
    for place in (Place("hosted", 1), Place("tcg", 1)):
        for name in ("stories", "15m-Q8_0"):
            try:
                check_time(args)
                rows.append(profiling(name, place, 8 if args.quick else 40))
            except BenchError as error:
                rows.append(skipped(name, error, where=place.shown))
    return rows


# ---------------------------------------------------------------- the part

TINY = ("tinyllama-Q4_0", "tinyllama-Q8_0", "tinyllama-Q4_K")
HOSTED_PLANS = {"stories": Plan(128, 6), "15m-Q8_0": Plan(128, 6), "smollm2": Plan(96, 8)}
TCG_PLANS = {"stories": Plan(96, 12), "15m-Q8_0": Plan(64, 15), "smollm2": Plan(32, 20)}
HOSTED_PLANS |= {name: Plan(48, 9) for name in TINY}
TCG_PLANS |= {name: Plan(24, 30, prompt=3) for name in TINY}


def places(name, args):
    """[(importance, place)], 0 first: the large model under TCG takes its time, so that there is one
    machine of it unless all is wanted."""
    if name in TINY and args.quick and name != TINY[0]:
        return []
    found = [(0, Place("hosted", 2)), (0, Place("tcg", 2))]
    if args.quick:
        return found
    found += [(1, Place("hosted", 1))]
    if knows("jit.isa"):
        found += [(3, Place("hosted", 1, isa=isa)) for isa in ("sse2", "avx2", "avx512")]
    if name not in TINY or args.all:
        found += [(1, Place("tcg", 1)), (2, Place("tcg", 2, "qemu64")), (2, Place("tcg", 1, "qemu64"))]
    return found


def climbs(args):
    if not knows("jit.isa"):
        progress("the program has no `jit.isa`: only what the processor offers is measured")
    jobs = [(importance, name, place) for name in HOSTED_PLANS for importance, place in places(name, args)]
    rows = []
    for _, name, place in sorted(jobs, key=lambda job: job[0]):
        plan = (HOSTED_PLANS if place.kind == "hosted" else TCG_PLANS)[name]
        if args.quick:
            plan = replace(plan, seconds=plan.seconds / 2)
        try:
            check_time(args)
            rows.append(climb(name, place, plan))
        except BenchError as error:
            rows.append(skipped(name, error, where=place.shown))
    return sorted(rows, key=lambda row: (list(HOSTED_PLANS).index(row["model"]), row["where"]))


def second_boots(args):
    rows = []
    for place, plans in ((Place("hosted", 2), HOSTED_PLANS), (Place("tcg", 2), TCG_PLANS)):
        for name in ("15m-Q8_0",) if args.quick else ("15m-Q8_0", "smollm2"):
            try:
                check_time(args)
                rows.append(warm_boot(name, place, plans[name]))
            except BenchError as error:
                rows.append(skipped(name, error, where=place.shown))
    return rows


def jit(args):
    warm = second_boots(args)
    profiling_cost = profiling_rows(args)
    rows = climbs(args)
    left_out = ("TinyLlama's shape under TCG only with -cpu max and -smp 2; jit.isa with one thread; "
                "--all measures the rest" if not args.all else "")
    return {"rows": rows, "warm": warm, "profiling": profiling_cost, "left_out": left_out}


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
                       "p99": f.get("p99_cycles"), "gmacs": f.get("gmacs"), "gbs": f.get("gbytes"),
                       "bandwidth": f.get("bandwidth_percent"),
                       "percent": round(100 * f["total_cycles"] / total, 1),
                       "over_rule": rounded(ratio(rule.get("minimum_cycles"), f["minimum_cycles"]), 2)})
    return result


KERNEL_COLUMNS = (("function", "function"), ("level", "level"), ("variant", "variant"), ("calls", "calls"),
                  ("least", "least cycles"), ("mean", "mean"), ("p99", "p99"), ("gmacs", "GMAC/s"), ("gbs", "GB/s"), ("bandwidth", "% of read"),
                  ("percent", "% of time"), ("over_rule", "x rule"))


def show(result):
    out = ["  tokens/s; rule: the best instruction set that CPUID names; settled: until 90 % of the final speed; lost: against\n"
           "  the final speed from the start; tuning: time that the search took; not needed: candidates of the field that it left out",
           table(result["rows"], (
               ("model", "model"), ("where", "where"), ("off", "tier 0"), ("baseline", "rule"), ("compiled", "SSE2 rule"),
               ("full", "full"),
               ("over_rule", "x rule"), ("over_tier_0", "x tier 0"), ("settled_s", "settled s"),
               ("settled_tokens", "tokens"), ("lost_s", "lost s"), ("tuning_ms", "tuning ms"), ("compile_ms", "of it making"), ("tried", "tried"), ("untried", "not needed"), ("skipped", "left out")))]
    if result["left_out"]:
        out.append(f"  ({result['left_out']})")
    if result["warm"]:
        out += ["\n  second boot, tokens/s", table(result["warm"], (
            ("model", "model"), ("where", "where"), ("cold_first_32", "first boot, first 32"),
            ("ended_with", "it ended with"), ("warm_first_32", "second boot, first 32"), ("warm_ratio", "ratio"),
            ("skipped", "left out")))]
    if result.get("profiling"):
        out += ["\n  profiling: tokens/s with it and without, jit=baseline in turns", table(result["profiling"], (
            ("model", "model"), ("where", "where"), ("on", "with"), ("off", "without"), ("cost_percent", "cost % (fastest)"),
            ("median_cost_percent", "median pair"),
            ("pairs", "pairs"), ("skipped", "left out")))]
    for row in result["rows"]:
        if row.get("modes") and row["where"] in ("hosted, 2 thr.", "TCG max, -smp 2"):
            out += [f"\n  {row['model']}, {row['where']}: {row['modes']['full']['verdicts']}",
                    table(kernels(row), KERNEL_COLUMNS)]
    return "\n".join(out)
