"""Shows what the optimiser is worth (`make bench-jit`): tables for people, and the goals."""
from .common import ratio, rounded
from .tables import table


def kernels(row):
    """The eight functions that cost most and what was chosen for them, after the full run."""
    functions = row["modes"]["full"].get("functions", [])
    rule = {f["name"]: f for f in row["modes"]["baseline"].get("functions", [])}
    total = sum(f["total_cycles"] for f in functions) or 1
    result = []
    for f in sorted(functions, key=lambda f: -f["total_cycles"])[:8]:
        result.append({"function": f["name"], "level": f["level"], "variant": f["variant"] or "-",
                       "calls": f["calls"], "least": f["minimum_cycles"], "mean": f["average_cycles"],
                       "p99": f.get("p99_cycles"), "gmacs": f.get("gmacs"), "gbs": f.get("gbytes"),
                       "bandwidth": f.get("bandwidth_percent"), "percent": round(100 * f["total_cycles"] / total, 1),
                       "over_rule": rounded(ratio(rule.get(f["name"], {}).get("minimum_cycles"), f["minimum_cycles"]), 2)})
    return result


SPEED_COLUMNS = (
    ("model", "model"), ("where", "where"), ("off", "tier 0"), ("baseline", "rule"), ("compiled", "SSE2 rule"),
    ("full", "full"), ("over_rule", "x rule"), ("over_tier_0", "x tier 0"), ("decode_gbytes", "GB/s"), ("read_gbytes", "can read"), ("read_percent", "% of it"),
    ("llama_cpp", "llama.cpp"), ("over_llama_cpp", "x llama.cpp"), ("same", "not measured again"), ("skipped", "left out"))
SPEED_LEGEND = """\
  tokens/s; rule: the best instruction set that CPUID names; GB/s: bytes of weights that decoding
  reads a second; can read: the read bandwidth that /profile measured"""
SEARCH_COLUMNS = (
    ("model", "model"), ("where", "where"), ("settled_s", "settled s"), ("settled_tokens", "tokens"), ("lost_s", "lost s"),
    ("climb_s", "climb s"), ("idle_s", "idle s"), ("rested", "rest"), ("tuning_ms", "tuning ms"), ("compile_ms", "making"),
    ("tuning_percent", "% of the time"), ("tried", "tried"), ("untried", "not needed"), ("took_s", "row took s"))
SEARCH_LEGEND = """
  the search. settled: until 90 % of the final speed, in seconds and in tokens; lost: seconds that
  the climb lost against the final speed; climb: seconds under load; idle: seconds after that until
  no candidate remained (rest: whether that was reached); tuning: time of the search; making: the
  part of it that generated code; not needed: candidates of the field that were never made"""
KERNEL_COLUMNS = (
    ("function", "function"), ("level", "level"), ("variant", "variant"), ("calls", "calls"), ("least", "least cycles"),
    ("mean", "mean"), ("p99", "p99"), ("gmacs", "GMAC/s"), ("gbs", "GB/s"), ("bandwidth", "% of read"),
    ("percent", "% of time"), ("over_rule", "x rule"))


def show_tiers(result):
    out = [SPEED_LEGEND, table(result["rows"], SPEED_COLUMNS)]
    out += [f"  {note}" for note in result["notes"]]
    if any(row.get("same") for row in result["rows"]):
        out.append("  not measured again: tier 0 is the same code whatever CPUID and jit.isa say; "
                   "the rule of qemu64 is the SSE2 rule of -cpu max")
    out += [SEARCH_LEGEND, table([row for row in result["rows"] if "skipped" not in row], SEARCH_COLUMNS)]
    for row in result["rows"]:
        if row.get("modes") and row["where"] in ("hosted, 2 thr.", "TCG max, -smp 2"):
            out += [f"\n  {row['model']}, {row['where']}: {row['modes']['full']['verdicts']}",
                    table(kernels(row), KERNEL_COLUMNS)]
    return "\n".join(out)


def show_second_boots(result):
    return ("  tokens/s of the first 32 tokens of a boot: the median of eight texts; "
            "of three second boots the median and the worst\n"
            + table(result["rows"], (
                ("model", "model"), ("where", "where"), ("cold", "first boot"), ("ended_with", "it ended with"),
                ("warm", "second boot"), ("first_text", "its first four"), ("warm_ratio", "ratio"), ("worst_ratio", "worst"), ("recalled", "remembered"),
                ("recalls_lost", "of them lost"), ("skipped", "left out"))))


def show_profiling(result):
    return ("  tokens/s with profiling and without, alternately, with jit=baseline; the cost is in % "
            "of tokens/s, for each pair; every round starts new programs\n"
            + table(result["rows"], (
                ("model", "model"), ("where", "where"), ("on", "with"), ("off", "without"),
                ("cost_percent", "cost % (median)"), ("quartiles", "quartiles"), ("interval", "median, 95 % sure"),
                ("programs", "medians of rounds"), ("fastest_percent", "fastest"), ("pairs", "pairs"), ("skipped", "left out"))))


def show_native(result):
    return ("  10^9 multiply-adds a second, one thread, one vector: what the search installed, and "
            "the best kernel of -O3 -march=native\n"
            + table(result["rows"], (
                ("model", "model"), ("function", "function"), ("variant", "installed"), ("installed", "GMAC/s"),
                ("native", "compiler's"), ("native_kernel", "its kernel"), ("ratio", "ratio"), ("mib", "MiB"),
                ("skipped", "left out"))))


# ---------------------------------------------------------------- goals

EIGHT_BITS = ("stories", "15m-Q8_0", "tinyllama-Q8_0")
FOUR_BITS = ("15m-Q4_0", "smollm2", "tinyllama-Q4_0", "tinyllama-Q4_K")
SPEEDS = {("15m-Q8_0", "TCG max, -smp 1"): (25, 40), ("15m-Q8_0", "TCG max, -smp 2"): (45, 70),
          ("tinyllama-Q4_0", "TCG max, -smp 2"): (1.0, 1.5)}


def goal(what, where, measured, wanted, met=None, aim=None):
    return {"goal": what, "where": where, "measured": measured, "wanted": wanted, "aim": aim,
            "met": None if measured is None else measured >= wanted if met is None else met}


def goals(report):
    """The optimiser's goals beside what this run measured. Only what it measured has a row."""
    rows = []
    for row in report.get("tiers-tcg", {}).get("rows", []):
        if "skipped" in row:
            continue
        where = f"{row['model']}, {row['where']}"
        if "max" in row["where"]:
            rows.append(goal("full / the rule with AVX2", where, row["over_rule"], 5.0 if row["model"] in EIGHT_BITS else 3.0))
        rows.append(goal("full / tier 0", where, row["over_tier_0"], 3.0))
        if least := SPEEDS.get((row["model"], row["where"])):
            rows.append(goal("tokens/s", where, row["full"], least[0], aim=least[1]))
    for row in report.get("tiers-hosted", {}).get("rows", []):
        if row["model"] in ("tinyllama-Q8_0", "tinyllama-Q4_0") and row.get("over_llama_cpp"):
            where, read = f"{row['model']}, {row['where']}", row["read_percent"]
            rows.append(goal(f"x llama.cpp, or 90 % of read bandwidth (here {read} %)", where, row["over_llama_cpp"], 1.2,
                             met=row["over_llama_cpp"] >= 1.2 or (read or 0) >= 90))
    ratios = [row for row in report.get("native", {}).get("rows", []) if row.get("ratio")]
    if ratios:
        least = min(ratios, key=lambda row: row["ratio"])
        rows.append(goal(f"x -O3 -march=native, the least of {len(ratios)}", f"{least['model']}, {least['function']}",
                         least["ratio"], 1.0))
    for row in report.get("second-boot", {}).get("rows", []):
        if row.get("warm_ratio"):
            rows.append(goal("second boot / end of the first", f"{row['model']}, {row['where']}", row["warm_ratio"], 0.9))
    for row in report.get("profiling", {}).get("rows", []):
        if row.get("cost_percent") is not None:
            rows.append(goal("% that profiling costs, at most", f"{row['model']}, {row['where']}", row["cost_percent"], 1.0,
                             met=row["cost_percent"] <= 1.0))
    return rows


def show_goals(rows):
    return table(rows, (("goal", "goal"), ("where", "where"), ("measured", "measured"), ("wanted", "goal is"),
                        ("aim", "aim"), ("met", "met")))
