"""Compares the first 32 tokens of a second boot with the speed at which the first boot ended."""
import tempfile
import time
from pathlib import Path

from . import client, files, prompts
from .common import BenchError, check_time, median, progress, ratio, rounded
from .speed import skipped
from .tiers import HOSTED_PLANS, TCG_PLANS, Place, climb, wait_for_rest

# The first 32 tokens are those of eight texts: four of each, after the one that belongs to its
# prompt. A client cannot tell fast tokens apart, but the server gives its own time for each text.
TEXTS = 8
TOKENS = 5
BOOTS = 3
SAVE_LIMIT_S = 15


def speeds_of_texts(server, path, seed):
    """Tokens/s of each of eight short texts. All boots compute the same context lengths."""
    return [client.stream(server.port, text, TOKENS, files.enders(path)).decode_rate
            for text, _ in prompts.make(path, TEXTS, 4, seed=f"second boot {seed}")]


def wait_for_save(server):
    """Waits until the choices were written, and two seconds passed without another write.

    The program writes them when it is idle. Returns the number of writes.
    """
    began = changed = time.monotonic()
    saves = 0
    while time.monotonic() - began < SAVE_LIMIT_S:
        now = client.profile(server.port).get("jit", {}).get("saves", 0)
        if now != saves:
            saves, changed = now, time.monotonic()
        if saves and time.monotonic() - changed > 2:
            break
        time.sleep(0.25)
    return saves


def second_boot(name, place, plan):
    path = files.path_of(name)
    with tempfile.TemporaryDirectory(prefix="bareflow-bench-") as folder:
        state = Path(folder) / "state.img"
        with place.server(name, path, "full", state) as server:
            server.wait_healthy()
            cold = median(speeds_of_texts(server, path, 1))
            climb(server, path, plan)
            rested, _ = wait_for_rest(server)
            ended = median(speeds_of_texts(server, path, 2) + speeds_of_texts(server, path, 3))
            wait_for_rest(server)
            saves, command = wait_for_save(server), server.command
        warm, begins, recalled, lost = [], [], 0, 0
        for _ in range(BOOTS):
            with place.server(name, path, "full", state) as server:
                server.wait_healthy()
                every = speeds_of_texts(server, path, 1)
                warm.append(median(every))
                begins.append(every[0])
                jit = client.profile(server.port).get("jit", {})
                recalled, lost = jit.get("recalled"), jit.get("recalls_lost")
    ratios = [ratio(speed, ended) for speed in warm]
    row = {"model": name, "where": place.shown, "cold": rounded(cold, 3), "rested": rested, "ended_with": rounded(ended, 3),
           "warm": rounded(median(warm), 3), "warm_ratio": rounded(median(ratios), 3),
           "worst_ratio": rounded(min(ratios), 3), "saves": saves, "recalled": recalled, "recalls_lost": lost,
           "first_text": rounded(median(begins), 3), "boots": [rounded(speed, 3) for speed in warm], "command": command}
    progress(f"{name}, {place.shown}, second boot: {row['warm']} of {row['ended_with']} tokens/s")
    return row


def second_boots(args):
    rows = []
    for place, plans in ((Place("tcg", 2), TCG_PLANS), (Place("hosted", 2), HOSTED_PLANS)):
        for name in ("15m-Q8_0",) if args.quick else ("stories", "15m-Q8_0", "smollm2"):
            try:
                check_time(args)
                rows.append(second_boot(name, place, plans[name]))
            except BenchError as error:
                rows.append(skipped(name, error, where=place.shown))
    return {"rows": rows}
