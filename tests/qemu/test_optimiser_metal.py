"""What the optimiser promises, seen from outside, in QEMU. tests/api/test_optimiser.py tests the hosted program."""
import json
import sys
import threading
import time

import pytest

from conftest import ROOT
from test_appliance import MODEL, call, complete, wait_ready

sys.path.insert(0, str(ROOT / "tests/api"))
from slowed import slowed  # noqa: E402

SETS = ["sse2", "ssse3", "avx2"]


def profile(vm):
    return json.loads(call(vm, "GET", "/profile?format=json")[2])


def text(vm):
    return complete(vm)["choices"][0]["text"]


def settled(vm):
    """Makes texts until no candidate has been tried for a second."""
    end = time.monotonic() + 60
    tried = -1
    while True:
        assert time.monotonic() < end, vm.story()
        complete(vm)
        time.sleep(1)
        found = profile(vm)
        if found["jit"]["candidates_tried"] == tried:
            return found
        tried = found["jit"]["candidates_tried"]


def sets_of(found):
    names = {row["variant"] for row in found["functions"] + found["candidates"]}
    return {word for name in names for word in name.split()[:1] if word.startswith(("sse", "ssse", "avx", "amx"))}


def boot(qemu, options, **settings):
    vm = qemu.boot_elf(options, initrd=MODEL, nic="virtio-net-pci", **settings)
    wait_ready(vm)
    return vm


def test_modes_and_sets_are_what_was_asked_for(qemu):
    """One text is the same by portable code, by the kernels that CPUID names, and by those found under every
    limit of instruction sets."""
    made = set()
    for options in ("jit=off", "jit=baseline", *(f"jit.isa={isa}" for isa in SETS)):
        vm = boot(qemu, f"{options} jit.warm=1 jit.hot=2 jit.very_hot=4", cpu="max")
        made.add(text(vm))
        found = settled(vm)
        made.add(text(vm))
        vm.stop()
        products = [f for f in found["functions"] if "gemv" in f["name"]]
        levels = {f["level"] for f in products}
        seen = sets_of(found)
        if options == "jit=off":
            assert levels == {0} and not seen and not found["candidates"]
        elif options == "jit=baseline":
            # Also where the emulator makes this instruction set slow.
            assert levels == {1} and {f["variant"] for f in products} == {"avx2"}
            assert found["jit"]["code_bytes"] == 0
        else:
            cap = SETS.index(options.removeprefix("jit.isa="))
            assert levels == {2} and seen and seen <= set(SETS[:cap + 1]), (options, seen)
    assert len(made) == 1, made


def test_what_grows_slower_is_searched_anew(qemu):
    """A machine that stands still for two thirds of the time, as if it had moved to a slower host."""
    vm = boot(qemu, "", hang_s=150)
    settled(vm)
    made = text(vm)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        complete(vm, max_tokens=100)
    before = profile(vm)["jit"]
    with slowed(vm.process.pid):
        end = time.monotonic() + 90
        # A function whose only candidate is in force is searched again without trying anything.
        while profile(vm)["jit"]["candidates_tried"] == before["candidates_tried"]:
            assert time.monotonic() < end, profile(vm)["jit"]
            complete(vm, max_tokens=100)
    assert text(vm) == made
    after = settled(vm)
    assert after["jit"]["retunes"] > before["retunes"]
    assert all(f["level"] >= 2 for f in after["functions"] if "gemv" in f["name"])
    assert text(vm) == made


@pytest.mark.parametrize("smp", [1, 2])
def test_the_search_takes_a_twentieth_of_the_time_of_a_text(qemu, smp):
    """A text that starts before anything was tuned: the time that the search takes until its end, by the guest's
    clock."""
    vm = boot(qemu, "context=4096", smp=smp)
    done = threading.Event()

    def generate():
        complete(vm, max_tokens=1000, logit_bias={"1": -100, "2": -100})
        done.set()

    client = threading.Thread(target=generate)
    client.start()
    seen = []
    while not done.wait(0.05):
        found = profile(vm)
        if found["requests"]["running"] == 1:
            seen.append((found["uptime_s"] * 1000, found["jit"]["spent_ms"], found["jit"]["candidates_tried"]))
    client.join()
    # Until the search ends, or the text.
    searching = [sample for sample in seen if sample[2] < seen[-1][2]] + seen[-1:]
    assert len(searching) > 5
    (began, spent_before, tried_before), (ended, spent_after, tried_after) = searching[0], searching[-2]
    share = (spent_after - spent_before) / (ended - began)
    print(f"-smp {smp}: {spent_after - spent_before:.1f} of {ended - began:.0f} ms: {100 * share:.1f} %, "
          f"{tried_after - tried_before} candidates")
    assert tried_after > tried_before, "nothing was searched while text was made"
    # A piece of the search takes 2 ms and then ends the run under way. The host may stop the machine meanwhile.
    assert spent_after - spent_before < 0.05 * (ended - began) + 30
