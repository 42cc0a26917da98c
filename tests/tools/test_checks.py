"""The checkers find what they are made for, and report nothing in a tree that follows the rules."""
import pathlib
import re
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools/check"


def run(tool, *arguments):
    return subprocess.run([sys.executable, str(TOOLS / tool), *map(str, arguments)],
                          capture_output=True, text=True, timeout=60)


# ---------------------------------------------------------------- check_layers.py


def layers(tmp_path, name, text):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".h") and "#pragma once" not in text:
        text = "#pragma once\n" + text
    path.write_text(text)
    return run("check_layers.py", "--root", tmp_path)


@pytest.mark.parametrize("includer, included", [
    ("kernel_lib/platform/metal/a_metal.cpp", "kernel_lib/base/result.h"),
    ("kernel_lib/cpu/a.cpp", "kernel_lib/platform/platform.h"),
    ("kernel_lib/cpu/a.cpp", "kernel_lib/io/serial.h"),
    ("kernel_lib/io/vga.cpp", "kernel_lib/runtime.h"),
    ("kernel_lib/jit/a.h", "kernel_lib/cpu/features.h"),
    ("drivers/net/e1000.h", "drivers/pci/pci.h"),
    ("llama/engine/engine.cpp", "kernel_lib/jit/profile.h"),
    ("net/stack.cpp", "drivers/net/net_device.h"),
    ("net/stack.cpp", "lwip/tcp.h"),
    ("api/completion_api.cpp", "llama/engine/engine.h"),
    ("status/profile.cpp", "api/completion_counters.h"),
    ("http/json.cpp", "rapidjson/document.h"),
    ("appliance/metal/main.cpp", "net/stack.h"),
])
def test_allowed_include(tmp_path, includer, included):
    done = layers(tmp_path, includer, f'#include "{included}"\n')
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("includer, included", [
    ("kernel_lib/base/a.h", "kernel_lib/platform/platform.h"),
    ("kernel_lib/platform/a.h", "kernel_lib/memory/buffer.h"),
    ("kernel_lib/cpu/a.cpp", "kernel_lib/jit/profile.h"),
    ("kernel_lib/jit/a.cpp", "drivers/pci/pci.h"),
    ("drivers/net/a.cpp", "llama/engine/engine.h"),
    ("drivers/net/a.cpp", "lwip/netif.h"),
    ("drivers/net/a.cpp", "net/stack.h"),
    ("llama/a.cpp", "drivers/block/block_device.h"),
    ("llama/a.cpp", "kernel_lib/io/console.h"),
    ("llama/a.cpp", "http/server.h"),
    ("net/a.cpp", "http/server.h"),
    ("http/server.cpp", "lwip/tcp.h"),
    ("http/server.cpp", "net/stack.h"),
    ("http/server.cpp", "llama/engine/engine.h"),
    ("http/server.cpp", "appliance/program.h"),
    ("appliance/metal/main.cpp", "lwip/init.h"),
    ("appliance/metal/main.cpp", "tests/fakes/clock.h"),
    ("llama/a.cpp", "rapidjson/document.h"),
    ("drivers/a.cpp", "../llama/engine.h"),
])
def test_forbidden_include_is_named_by_line(tmp_path, includer, included):
    done = layers(tmp_path, includer, f'\n#include "{included}"\n')
    assert done.returncode == 1
    line = 3 if includer.endswith(".h") else 2
    assert f"{includer}:{line}:" in done.stdout and included in done.stdout


def test_include_relative_to_the_folder_is_refused(tmp_path):
    assert layers(tmp_path, "drivers/pci.h", "").returncode == 0
    done = layers(tmp_path, "drivers/e1000.cpp", '#include "pci.h"\n')
    assert done.returncode == 1 and "project root" in done.stdout


def test_lwip_in_angle_brackets_is_seen(tmp_path):
    assert layers(tmp_path, "http/a.cpp", "#include <lwip/tcp.h>\n").returncode == 1


def test_commented_include_counts_for_nothing(tmp_path):
    text = '// #include "lwip/tcp.h"\n/*\n#include "llama/engine/engine.h"\n*/\n'
    assert layers(tmp_path, "drivers/a.cpp", text).returncode == 0


@pytest.mark.parametrize("line", ["#if HOSTED", "#ifdef BAREFLOW_HOSTED", "#if defined(__hosted__)",
                                  "#ifndef BAREFLOW_METAL"])
def test_conditions_on_the_world_are_refused(tmp_path, line):
    done = layers(tmp_path, "llama/a.cpp", f"{line}\n#endif\n")
    assert done.returncode == 1 and "llama/a.cpp:1" in done.stdout


@pytest.mark.parametrize("define", ["REG_CTRL 0x0000", "N (1 << 4)", "PI 3.14f", "BIG 10ULL // why", "NEG (-1)"])
def test_numeric_define_in_a_header_is_refused(tmp_path, define):
    assert layers(tmp_path, "drivers/a.h", f"#define {define}\n").returncode == 1


@pytest.mark.parametrize("define", ["TRY(x) do_it(x)", "GUARD_H", "NAME \"text\""])
def test_other_defines_pass(tmp_path, define):
    assert layers(tmp_path, "drivers/a.h", f"#define {define}\n").returncode == 0


def test_source_outside_of_every_room_is_refused(tmp_path):
    done = layers(tmp_path, "compute/a.cpp", '#include "compute/numbers/ops.h"\n')
    assert done.returncode == 1 and "compute/a.cpp:1: lies in no room" in done.stdout


def test_header_without_pragma_once_is_refused(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/a.h").write_text("int a;\n")
    done = run("check_layers.py", "--root", tmp_path)
    assert done.returncode == 1 and "#pragma once" in done.stdout


def test_empty_tree_is_no_pass(tmp_path):
    assert run("check_layers.py", "--root", tmp_path).returncode == 1


# ---------------------------------------------------------------- check_words.py


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitattributes").write_text("* text=auto\n*.gguf binary\n")
    return tmp_path


def words(repository, name, data):
    (repository / name).write_bytes(data)
    subprocess.run(["git", "-C", str(repository), "add", "-A"], check=True, capture_output=True)
    return run("check_words.py", "--root", repository)


LATER = ["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]
PLACES = ["/ro" "ot/x", "/wo" "rk/main", "/ho" "me/me"]


@pytest.mark.parametrize("data, message", [
    *[(f"a\nint b;  // {word}: later\n".encode(), "b.cpp:2:") for word in LATER],
    *[(f"path = \"{place}\"\n".encode(), "b.cpp:1:") for place in PLACES],
    (b"a\nb", "b.cpp:2: no newline"),
    (b"a \n", "b.cpp:1: trailing"),
    (b"a\n\t\n", "b.cpp:2: trailing"),
    (b"a\r\n", "b.cpp:1: CR LF"),
])
def test_words_found(repository, data, message):
    done = words(repository, "b.cpp", data)
    assert done.returncode == 1 and message in done.stdout


@pytest.mark.parametrize("data", [
    b"", b"fine\n", b"the hackneyed word, a todo list in lower case\n",
    b"build/wo" b"rk/x and docs/ho" b"me/y\n",
])
def test_words_passed(repository, data):
    done = words(repository, "b.cpp", data)
    assert done.returncode == 0, done.stdout


def test_binary_files_are_only_weighed(repository):
    assert words(repository, "a.gguf", b"TO" b"DO \r\nno newline").returncode == 0
    assert words(repository, "b.gguf", bytes(1024 * 1024)).returncode == 0
    done = words(repository, "c.gguf", bytes(1024 * 1024 + 1))
    assert done.returncode == 1 and "c.gguf:1:" in done.stdout


# ---------------------------------------------------------------- check_budgets.py


def built(tmp_path, kernel_bytes, code="int f(int a) { return a * 3; }\n", model=b"GGUF model bytes"):
    """A build folder whose image has this number of bytes before the model."""
    build = tmp_path / "build"
    (build / "metal/kernel_lib/base").mkdir(parents=True)
    obj = build / "metal/kernel_lib/base/a.cpp.o"
    subprocess.run(["clang-19", "-ffreestanding", "-c", "-x", "c", "-", "-o", str(obj)],
                   input=code, text=True, check=True)
    subprocess.run(["llvm-ar-19", "rcsD", str(build / "kernel_lib.a"), str(obj)], check=True)
    model_file = tmp_path / "m.gguf"
    model_file.write_bytes(model)
    mbr = bytearray(512)
    mbr[446:462] = bytes([0x80, 0, 0, 0, 0x7F, 0, 0, 0]) + struct.pack("<II", 1, kernel_bytes // 512 - 1)
    mbr[462:478] = bytes([0, 0, 0, 0, 0xDA, 0, 0, 0]) + struct.pack("<II", kernel_bytes // 512, 1)
    mbr[510:] = b"\x55\xaa"
    (build / "fluid_llama.img").write_bytes(bytes(mbr) + bytes(kernel_bytes - 512) + model)
    (build / "bareflow.map").write_text(
        "             VMA              LMA     Size Align Out     In      Symbol\n"
        "          100000           100000      300    16 .text\n"
        "          100000           100000      200    16         build/kernel_lib.a(a.cpp.o):(.text.f)\n"
        "          100000           100000      200     1                 f\n"
        "          100200           100200      100    16         build/metal/llama/engine.cpp.o:(.text)\n"
        "          200000           200000      400    16 .bss\n"
        "          200000           200000      400    16         build/metal/net/stack.cpp.o:(.bss.pool)\n"
        "               0                0     9999     1 .debug_info\n"
        "               0                0     9999     1         build/metal/llama/engine.cpp.o:(.debug_info)\n")
    return run("check_budgets.py", "--build", build, "--model", model_file)


def test_budgets_kept(tmp_path):
    done = built(tmp_path, 256 * 1024)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows["kernel_lib/base"][0] == "0.5"
    assert rows["llama"][0] == "0.2" and rows["net"] == ["0.0", "KiB", "1.0", "KiB"]


def test_image_too_large(tmp_path):
    done = built(tmp_path, 256 * 1024 + 512)
    assert done.returncode == 1 and "BROKEN by 512 bytes" in done.stdout


def test_library_too_large(tmp_path):
    limit = re.search(r'"kernel_lib.a code\+data": (\d+) \* 1024', (ROOT / "tools/check/check_budgets.py").read_text())[1]
    done = built(tmp_path, 4096, code=f"const char table[{limit} * 1024 + 1] = {{1}};\n")
    assert done.returncode == 1 and "kernel_lib.a" in done.stdout and "BROKEN" in done.stdout


def test_image_with_another_model_is_refused(tmp_path):
    assert built(tmp_path, 4096).returncode == 0
    (tmp_path / "m.gguf").write_bytes(b"GGUF other bytes")
    done = run("check_budgets.py", "--build", tmp_path / "build", "--model", tmp_path / "m.gguf")
    assert done.returncode == 1 and "does not hold" in done.stderr


def test_nothing_built_is_said(tmp_path):
    done = run("check_budgets.py", "--build", tmp_path)
    assert done.returncode == 1 and "run make" in done.stderr


# ---------------------------------------------------------------- check_format.sh


def formatted(tmp_path, text):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "tools/check").mkdir(parents=True)
    for name in ("tools/check/check_format.sh", ".clang-format"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "a.cpp").write_text(text)
    subprocess.run(["git", "-C", str(tmp_path), "add", "-A"], check=True)
    return subprocess.run(["bash", str(tmp_path / "tools/check/check_format.sh")], capture_output=True, text=True)


def test_formatted_source_passes(tmp_path):
    done = formatted(tmp_path, "int f(int a) {\n    return a;\n}\n")
    assert done.returncode == 0, done.stdout + done.stderr


def test_unformatted_source_is_named_by_line(tmp_path):
    done = formatted(tmp_path, "int f(int a) {\n  return   a;\n}\n")
    assert done.returncode == 1 and "a.cpp:2:" in done.stdout
