"""What the optimiser promises, seen from outside, on the hosted program; tests/qemu/test_optimiser_metal.py has the
machine's."""
import contextlib
import threading
import time

import pytest

from api_client import MODEL, Api, start_hosted
from slowed import slowed

EAGER = ("jit.warm=1", "jit.hot=2", "jit.very_hot=4")
SETS = ["sse2", "ssse3", "avx2", "avx_vnni", "avx512", "amx"]
FEATURES = dict(zip(SETS, ["", "ssse3", "avx2", "avx_vnni", "avx512_vnni", "amx_int8"]))


@contextlib.contextmanager
def hosted(*settings):
    process, url = start_hosted(["--model", MODEL, *settings])
    try:
        api = Api(url)
        api.wait_until_ready()
        yield process, api
    finally:
        process.terminate()
        assert process.wait(10) == 0


def text(api):
    return api.complete(max_tokens=60, temperature=0).json()["choices"][0]["text"]


def sets_of(found):
    """The instruction sets of all variants that are in force or were tried."""
    names = {row["variant"] for row in found["functions"] + found["candidates"]}
    return {word for name in names for word in name.split()[:1] if word in SETS}


@pytest.fixture(scope="module")
def portable_text():
    with hosted("jit=off", *EAGER) as (_, api):
        made = text(api)
        found = api.settle()
        assert found["jit"]["mode"] == "off" and found["candidates"] == [] and sets_of(found) == set()
        assert all(f["level"] == 0 for f in found["functions"])
        return made


def test_baseline_takes_the_best_set_that_cpuid_names(portable_text):
    with hosted("jit=baseline", *EAGER) as (_, api):
        assert text(api) == portable_text
        found = api.settle()
        products = [f for f in found["functions"] if "gemv" in f["name"]]
        offered = [s for s in SETS if FEATURES[s] in found["cpu"]["features"].split() + [""]]
        assert {f["level"] for f in products} == {1}
        assert {f["variant"] for f in products} == {offered[-1]}
        assert max(row["level"] for row in found["candidates"]) <= 1
        assert found["jit"]["code_bytes"] == 0


@pytest.mark.parametrize("isa", SETS)
def test_the_set_is_capped(portable_text, isa):
    with hosted(f"jit.isa={isa}", *EAGER) as (_, api):
        assert text(api) == portable_text
        found = api.settle()
        assert text(api) == portable_text
        seen = sets_of(found)
        assert seen and seen <= set(SETS[:SETS.index(isa) + 1]), seen
        if FEATURES[isa] in found["cpu"]["features"].split() + [""]:
            assert isa in seen
        assert all(f["level"] >= 2 for f in found["functions"] if "gemv" in f["name"])


def test_every_candidate_that_was_tried_is_listed(portable_text):
    with hosted(*EAGER) as (_, api):
        found = api.settle()
        assert len(found["candidates"]) == found["jit"]["candidates_tried"] > 40


def fused_tries(api):
    return [c for c in api.profile()["candidates"] if c["variant"] == "fed in one step"]


def test_steps_in_one_are_timed_on_tokens_and_listed():
    """Only steps that processors share. Which processor computes what does not change the text."""
    texts = []
    for jit, threads in (("full", 2), ("baseline", 2), ("off", 2), ("full", 1)):
        with hosted(f"jit={jit}", f"threads={threads}") as (_, api):
            texts += [text(api) for _ in range(4)]
            tries = fused_tries(api)
            if (jit, threads) != ("full", 2):
                assert not tries
                continue
            end = time.monotonic() + 60
            while not fused_tries(api):
                assert time.monotonic() < end, api.profile()["processors"]
                texts.append(text(api))
            for one in fused_tries(api):
                assert " + " in one["function"] and one["level"] == 3
                assert one["verdict"] in ("won", "lost")
                assert one["cycles"] > 0 and one["current_cycles"] > 0
    assert len(set(texts)) == 1


def test_what_grows_slower_is_searched_anew():
    """A process that is stopped for two thirds of the time behaves as on a machine with a busy neighbour."""
    with hosted("jit.warm=16", "jit.hot=32", "jit.very_hot=64") as (process, api):
        api.settle()
        made = text(api)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            api.complete(max_tokens=400, temperature=0)
        before = api.profile()
        with slowed(process.pid):
            end = time.monotonic() + 60
            # A function whose only choice is in force is searched anew and has nothing to try.
            while api.profile()["jit"]["candidates_tried"] == before["jit"]["candidates_tried"]:
                assert time.monotonic() < end, api.profile()
                for _ in range(5):
                    api.complete(max_tokens=400, temperature=0)
        assert text(api) == made
        after = api.settle()
        assert after["jit"]["retunes"] > before["jit"]["retunes"]
        assert all(f["level"] >= 2 for f in after["functions"] if "gemv" in f["name"])
        assert text(api) == made


def test_processors_are_counted_one_by_one():
    for threads in (1, 2):
        with hosted(f"threads={threads}") as (_, api):
            # Batches of several texts are large enough to be shared.
            clients = [threading.Thread(target=api.complete, kwargs={"max_tokens": 200, "temperature": 1, "seed": i})
                       for i in range(4)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            shares = api.profile()["processors"]
            if threads == 1:
                assert shares == []
                continue
            assert len(shares) == 2
            assert all(s["items"] >= s["jobs"] and (s["items"] > 0) == (s["busy_ms"] > 0) for s in shares), shares
            assert shares[0]["items"] > 0
            lines = api.get("/profile?format=prometheus").body.decode().splitlines()
            for name in ("items_total", "busy_seconds_total"):
                assert sum(line.startswith(f'bareflow_processor_{name}{{processor="') for line in lines) == 2
            assert "Work that is shared" in api.get("/profile?format=html").body.decode()
            assert api.request("POST", "/profile/reset").status == 200
            assert all(s["items"] == s["jobs"] == 0 for s in api.profile()["processors"])
