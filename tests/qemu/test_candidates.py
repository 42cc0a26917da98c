"""The machine survives candidates that go wrong, and a crash report names generated code."""
import json
import re
import time

import pytest

from conftest import exit_exception
from test_appliance import MODEL, call, complete, wait_ready

PAGE_FAULT = 14

OUTCOMES = {
    "wrong": "differed",
    "nothing done": "differed",
    "reads behind": "faulted",
    "reads before": "faulted",
    "writes behind": "faulted",
    "null pointer": "faulted",
    "runs off its end": "faulted",
    "writes its caller's code": "faulted",
    "keeps no register": "faulted",
    "loses its stack": "faulted",
    "never ends": "overran",
    "never ends, no stack": "overran",
    "right": "won",
}


@pytest.mark.parametrize("smp", [1, 2])
@pytest.mark.parametrize("cpu", ["max", "qemu64,-apic"])
def test_bad_candidates_are_survived(qemu, make_image, smp, cpu):
    if smp > 1 and "-apic" in cpu:
        pytest.skip("without local APICs there is one processor")
    vm = qemu.boot_image(make_image(MODEL, options="selftest=candidates threads=0"), smp=smp, cpu=cpu)
    vm.wait_for(f"selftest: {len(OUTCOMES)} candidates, all ended as they should", timeout_s=90)
    for name, verdict in OUTCOMES.items():
        assert f"selftest: '{name}' {verdict}\n" in vm.text.replace("\r", "")
        if smp > 1:
            done = verdict if verdict in ("faulted", "overran") else "returned"
            assert f"selftest: processor 1: '{name}' {done}\n" in vm.text.replace("\r", "")
    for name in ("reads behind", "never ends"):
        assert re.search(f"jit: {name} for selftest (faulted|overran) and is not used", vm.text)
    # The appliance goes on.
    wait_ready(vm)
    assert complete(vm)["choices"][0]["text"]
    assert "EXCEPTION" not in vm.text


def test_a_crash_in_generated_code_names_the_kernel(qemu):
    vm = qemu.boot_elf("selftest=generated")
    assert vm.wait_exit() == exit_exception(PAGE_FAULT)
    assert "a null pointer, or close to one" in vm.text
    assert re.search(r"RIP [0-9a-f]{16} .* in selftest_gemv 64x32 r4 \+ 0x7\b", vm.text)
    # The kernel made a frame, so the backtrace reaches its caller.
    assert vm.text.count("called from") >= 2


@pytest.mark.parametrize("smp", [1, 2])
def test_no_page_is_writable_and_executable_while_code_is_made(qemu, smp):
    vm = qemu.boot_elf("selftest=code threads=0", smp=smp)
    pages = vm.wait_for(re.compile(r"selftest: (\d+) pages mapped, (\d+) executable, (\d+) of them writable"))
    mapped, executable, both = (int(n) for n in pages.groups())
    assert mapped > 30000 and 50 < executable < 300 and both == 0
    answers = vm.wait_for(re.compile(r"(\d+) wrong answers, (\d+) given by other processors"))
    assert int(answers.group(1)) == 0
    # Enough answers of the other processor, even if the host has one processor for two of the guest's.
    assert (int(answers.group(2)) > 100) == (smp > 1)
    vm.wait_for("ready")


def test_relaxed_numerics_are_tried_and_said(qemu):
    """numerics=fast: the SSE2 operations that break the contract stay within the tolerance in QEMU, too."""
    vm = qemu.boot_elf("jit.warm=1 jit.hot=2 jit.very_hot=4 numerics=fast", initrd=MODEL)
    wait_ready(vm)
    assert "numerics=fast: float operations may differ from the reference by 1/4096" in vm.text
    end = time.monotonic() + 45
    verdicts = {}
    while len(verdicts) < 2:
        assert time.monotonic() < end, verdicts
        complete(vm)
        profile = json.loads(call(vm, "GET", "/profile?format=json")[2])
        for row in profile["candidates"]:
            if row["variant"] == "sse2 fast":
                verdicts.setdefault(row["function"].split()[0], set()).add(row["verdict"])
    assert profile["jit"]["numerics"] == "fast" and profile["jit"]["relaxed"]
    assert verdicts.keys() == {"attention", "silu_mul"}
    assert set.union(*verdicts.values()) <= {"won", "lost"}, verdicts
