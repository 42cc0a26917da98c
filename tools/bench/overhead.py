"""Measures what profiling costs: two programs with the same kernels, one with profile=off.

Both make texts alternately, a pair of measurements at a time, so that a slow moment of the machine
slows both sides of a pair.
"""
import contextlib
import math
import statistics

from . import client, files, prompts
from .common import BenchError, check_time, median, progress, ratio, rounded
from .servers import Guest, Hosted
from .speed import CONTEXT, skipped
from .tiers import Place

# One side of a pair makes texts until it has decoded for this time.
SIDE_S = 0.25


def interval_of_median(values):
    """Two of the values between which the median lies in 95 of 100 cases, for any distribution."""
    ordered = sorted(values)
    count = len(ordered)
    reach = 0.98 * math.sqrt(count)
    low, high = max(0, math.floor(count / 2 - reach)), min(count - 1, math.ceil(count / 2 + reach))
    return ordered[low], ordered[high]


def decode_rate(server, path, texts, tokens):
    """Tokens/s of one side of a pair, by the server's own clock."""
    made = spent = 0
    while spent < SIDE_S:
        text = client.stream(server.port, next(texts), tokens, files.enders(path))
        if not text.decode_rate:
            raise BenchError("a text without a speed")
        made += text.tokens - 1
        spent += (text.tokens - 1) / text.decode_rate
    return made / spent


def endless(path, seed):
    made = prompts.make(path, 8, 4, seed=seed)
    while True:
        yield from (text for text, _ in made)


def start(stack, name, path, place, mode):
    settings = {"context": CONTEXT, "jit": "baseline", "jit.isa": "sse2" if place.kind == "tcg" else None, "profile": mode}
    server = Hosted(path, place.processors, settings) if place.kind == "hosted" else \
        Guest(None if name == "stories" else path, smp=place.processors, settings=settings)
    return stack.enter_context(server)


def profiling(name, place, rounds, pairs):
    """A row for one model and place.

    Each round starts new programs: the place of a program's memory may cost it 1 % all the time.
    """
    path = files.path_of(name)
    tokens = 400 if name == "stories" and place.kind == "hosted" else 64 if place.kind == "hosted" else 24
    costs, middles, speed, commands = [], [], {"on": [], "off": []}, []
    texts = {mode: endless(path, "profiling") for mode in speed}
    for number in range(rounds):
        with contextlib.ExitStack() as stack:
            order = ("on", "off") if number % 2 else ("off", "on")
            servers = {mode: start(stack, name, path, place, mode) for mode in order}
            for mode, server in servers.items():
                server.wait_healthy()
                decode_rate(server, path, texts[mode], tokens)  # warming up
            seen = []
            for i in range(pairs):
                pair = {}
                for mode in order if i % 2 else order[::-1]:
                    pair[mode] = decode_rate(servers[mode], path, texts[mode], tokens)
                    speed[mode].append(pair[mode])
                seen.append(100 * (ratio(pair["off"], pair["on"]) - 1))
            costs += seen
            middles.append(median(seen))
            commands = [server.command for server in servers.values()]
    quarters = statistics.quantiles(costs, n=4)
    low, high = interval_of_median(costs)
    row = {"model": name, "where": place.shown, "pairs": len(costs), "on": rounded(median(speed["on"]), 2),
           "off": rounded(median(speed["off"]), 2), "cost_percent": rounded(median(costs), 2),
           "quartiles": f"{quarters[0]:.2f} .. {quarters[2]:.2f}", "interval": f"{low:.2f} .. {high:.2f}",
           "programs": f"{min(middles):.2f} .. {max(middles):.2f}",
           "fastest_percent": rounded(100 * (ratio(max(speed["off"]), max(speed["on"])) - 1), 2),
           "samples": [rounded(cost, 3) for cost in costs], "commands": commands}
    progress(f"{name}, {place.shown}: profiling costs {row['cost_percent']} % ({row['interval']})")
    return row


def profiling_rows(args):
    rows = []
    for place in (Place("hosted", 1), Place("tcg", 1)):
        for name in ("15m-Q8_0",) if args.quick else ("stories", "15m-Q8_0"):
            try:
                check_time(args)
                rows.append(profiling(name, place, *((2, 10) if args.quick else (6, 12))))
            except BenchError as error:
                rows.append(skipped(name, error, where=place.shown))
    return {"rows": rows}
