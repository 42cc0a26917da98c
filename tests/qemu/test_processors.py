"""Several processors: how they are started, counted and refused, how they work and idle, and the report of a
fault on one of them."""
import re
import struct
import subprocess
import time

import pytest

from conftest import ELF, exit_exception
from gdb_stub import GdbStub
from test_appliance import complete, hosted_text, synthetic, wait_ready
from test_boot import INVALID_OPCODE, check_dump, processor_seconds

ALL = ("-fw_cfg", "name=opt/bareflow/options,string=threads=0")
COUNT = re.compile(r"processors: (\d+) computes?")


@pytest.mark.parametrize("settings, count", [
    ({"smp": 1}, 1),
    ({"smp": 2}, 2),
    ({"smp": 4}, 4),
    ({"smp": 4, "machine": "q35", "cpu": "max"}, 4),
    ({"smp": 3, "cpu": "qemu64,-nx"}, 3),
    ({"smp": "2,sockets=2"}, 2),
    ({"smp": "1,maxcpus=4"}, 1),          # ACPI lists four, one is there
    ({"smp": 20}, 16),
    ({"smp": 1, "cpu": "qemu64,-apic"}, 1),
    ({"smp": 2, "cpu": "qemu64,-apic"}, 2),  # QEMU gives them APICs although CPUID denies it
    ({"smp": 2, "machine": "microvm", "nic": None}, 2),
], ids=lambda s: "-".join(f"{v}" for v in s.values()).replace(",", "") if isinstance(s, dict) else None)
def test_all_processors_are_found(qemu, settings, count):
    vm = qemu.boot_elf("threads=0", **settings)
    assert int(vm.wait_for(COUNT).group(1)) == count
    vm.wait_for("ready")


def test_bios_boot_finds_them_too(qemu):
    vm = qemu.boot_image(smp=2)
    assert int(vm.wait_for(COUNT).group(1)) == 2


@pytest.mark.parametrize("threads, count", [(2, 2), (3, 3), (0, 4), (16, 4)])
def test_the_setting_limits_them(qemu, threads, count):
    vm = qemu.boot_elf(f"threads={threads}", smp=4)
    assert int(vm.wait_for(COUNT).group(1)) == count


def test_all_is_the_default(qemu):
    vm = qemu.boot_elf("", smp=4)
    assert int(vm.wait_for(COUNT).group(1)) == 4


def test_nobody_else_runs_with_one(qemu):
    vm = qemu.boot_elf("threads=1 selftest=processor", smp=4)
    vm.wait_for("PANIC")
    vm.wait_for("selftest: the fault did not happen")
    assert "processors:" not in vm.text


def test_no_acpi_is_a_sentence(qemu):
    vm = qemu.boot_elf("threads=0", smp=2, machine="pc,acpi=off")
    vm.wait_for("processors: only the first one is used: no ACPI tables")
    vm.wait_for("ready")


def replace_processor(stub, apic_id, by):
    """An identifier in ACPI's list of processors at which no processor answers."""
    area = stub.read(0xE0000, 0x20000)
    rsdt = struct.unpack_from("<I", area, area.index(b"RSD PTR ") + 16)[0]
    pointers = stub.read(rsdt + 36, struct.unpack("<I", stub.read(rsdt + 4, 4))[0] - 36)
    for (table,) in struct.iter_unpack("<I", pointers):
        if stub.read(table, 4) == b"APIC":
            break
    madt = bytearray(stub.read(table, struct.unpack("<I", stub.read(table + 4, 4))[0]))
    at = 44
    while at < len(madt):
        if madt[at] == 0 and madt[at + 3] == apic_id:
            madt[at + 3] = by
            madt[9] = (madt[9] + apic_id - by) & 0xFF  # so that the table's sum stays zero
            stub.write(table, bytes(madt))
            return
        at += madt[at + 1]
    raise AssertionError(f"there is no processor {apic_id}")


def test_one_that_does_not_answer_is_left_out(qemu, tmp_path):
    symbols = subprocess.run(["llvm-nm-19", ELF], check=True, capture_output=True, text=True).stdout
    start = int(re.search(r"^([0-9a-f]+) T bareflow_start$", symbols, re.MULTILINE)[1], 16)
    vm = qemu.boot_elf("threads=0", "-S", "-gdb", f"unix:{tmp_path}/gdb,server=on,wait=off", smp=3)
    stub = GdbStub(tmp_path / "gdb")
    stub.run_to(start)
    stub.physical()
    replace_processor(stub, 1, by=77)
    stub.leave()
    assert int(vm.wait_for(COUNT).group(1)) == 2
    vm.wait_for("ready")
    assert vm.text.count("processors: APIC 77 did not start within 500 ms\n") == 1
    assert vm.text.count("processors:") == 2


def test_fault_elsewhere_is_told_with_the_processor(qemu):
    vm = qemu.boot_elf("selftest=processor threads=0", smp=2)
    assert vm.wait_exit() == exit_exception(INVALID_OPCODE)
    check_dump(vm.text, INVALID_OPCODE, "invalid opcode", "Processor 1: EXCEPTION 6")
    assert vm.text.rstrip().endswith("The machine stops here.")


def test_fault_elsewhere_stops_all(qemu):
    vm = qemu.boot_elf("selftest=processor threads=0", smp=4, debug_exit=False)
    vm.wait_for("The machine stops here.")
    time.sleep(1.5)  # longer than the other processors of the self-test wait
    assert vm.text.count("EXCEPTION") == 1
    assert "PANIC" not in vm.text
    before = processor_seconds(vm.process.pid)
    time.sleep(1.0)
    assert processor_seconds(vm.process.pid) - before < 0.2
    assert vm.running


@pytest.mark.parametrize("kind", ["Q8_0"])
def test_the_text_is_the_same_on_1_2_4_processors(qemu, tmp_path, kind):
    """A model whose matrix products are large enough to be shared."""
    model = synthetic(tmp_path, kind, "--dim", "256", "--hidden", "704", "--layers", "3", "--heads", "8", "--kv-heads",
                      "4", "--vocab", "600", "--context", "128", "--type", kind)
    expected = hosted_text(48, model=model)
    for smp in (1, 2, 4):
        vm = qemu.boot_image(None, "-drive", f"file={model},format=raw,snapshot=on,if=ide,index=1", "-fw_cfg",
                             "name=opt/bareflow/options,string=model=disk threads=0", nic="virtio-net-pci", smp=smp)
        wait_ready(vm)
        for _ in range(2):
            assert complete(vm, max_tokens=48)["choices"][0]["text"] == expected, f"-smp {smp}"
        vm.stop()


def test_the_default_model_on_four_processors(qemu):
    vm = qemu.boot_image(None, *ALL, nic="virtio-net-pci", smp=4)
    wait_ready(vm)
    assert complete(vm, max_tokens=120)["choices"][0]["text"] == hosted_text(120)


def test_idle_processors_cost_next_to_nothing(qemu):
    vm = qemu.boot_image(None, *ALL, nic="virtio-net-pci", smp=4)
    wait_ready(vm)
    complete(vm, max_tokens=16)
    time.sleep(3.0)  # until the optimiser has no more work
    before = processor_seconds(vm.process.pid)
    time.sleep(4.0)
    assert (processor_seconds(vm.process.pid) - before) / 4.0 < 0.10
