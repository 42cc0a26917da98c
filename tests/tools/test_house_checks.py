"""The checks of the house rules find what they are for, and nothing in a tree that follows them."""
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKS = ROOT / "tools/check"
sys.path.insert(0, str(CHECKS))
import cpp_scan  # noqa: E402

# What the checks ask of a Makefile.
MAKEFILE = """print-build:
\t@echo 'metal flags: -std=c++20 -I. -DMETAL'
\t@echo 'hosted flags: -std=c++20 -I. -Wall'
\t@echo 'test flags: -std=c++20 -I. -DTESTS'
\t@echo "metal sources: $(shell git ls-files '*.cpp' | grep -v '^tests/\\|_hosted')"
\t@echo "hosted sources: $(shell git ls-files '*.cpp' | grep -v '^tests/\\|_metal')"
"""


@pytest.fixture
def tree(tmp_path):
    """Writes files (name: text) into a repository and runs a check on it: tree("shape", files)"""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / ".gitignore").write_text("/build/\n/compile_commands.json\n")

    def run(check, files, *arguments):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        subprocess.run(["git", "-C", str(tmp_path), "add", "-A"], check=True, capture_output=True)
        return subprocess.run([sys.executable, str(CHECKS / f"{check}.py"), "--root", str(tmp_path),
                               *arguments], capture_output=True, text=True, timeout=120)
    run.root = tmp_path
    return run


def offences(done):
    return [line for line in done.stdout.splitlines()[:-1]]


def passes(done):
    assert done.returncode == 0 and offences(done) == [], done.stdout + done.stderr


def fails(done, *starts):
    """With exactly these offences, by how their lines begin."""
    assert done.returncode == 1, done.stdout + done.stderr
    found = offences(done)
    assert len(found) == len(starts), done.stdout
    for line, start in zip(found, starts):
        assert line.startswith(start), done.stdout


@pytest.mark.parametrize("check", ["check_shape", "check_homes", "check_headers", "check_tests",
                                   "check_docs", "check_lint", "compile_database"])
def test_help_is_the_text_at_the_top(check):
    done = subprocess.run([sys.executable, str(CHECKS / f"{check}.py"), "--help"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and f"usage: tools/check/{check}.py" in done.stdout


@pytest.mark.parametrize("check", ["check_shape", "check_homes", "check_headers", "check_tests",
                                   "check_docs"])
def test_a_tree_without_files_is_no_pass(tmp_path, check):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    done = subprocess.run([sys.executable, str(CHECKS / f"{check}.py"), "--root", str(tmp_path)],
                          capture_output=True, text=True)
    assert done.returncode == 1 and check in done.stderr


# ---------------------------------------------------------------- cpp_scan.py


def functions(text):
    return [(one.name, one.lines) for one in cpp_scan.scan(text).functions]


def members(text):
    return {one.name: one.members for one in cpp_scan.scan(text).classes}


@pytest.mark.parametrize("text, expected", [
    ("int f() {\n    return 1;\n}\n", [("f", 3)]),
    ("int f();\nint x{3};\nconst int y[] = {1, 2};\nenum class E { kA, kB };\n", []),
    ("template <typename T, int N = 3>\nstd::array<T, N> make(std::span<T> x) {\n}\n", [("make", 3)]),
    ("A::A(int x) : a_(x), b_{x}, C<int>{} {\n}\n", [("A::A", 2)]),
    ("A::~A() {}\nbool A::operator==(const A &o) const {\n}\nA::operator bool() const {}\n",
     [("A::~A", 1), ("A::operator==", 2), ("A::operator bool", 1)]),
    ("bool operator<(A a, B b) {}\nint A::operator()(int x) {}\n",
     [("operator<", 1), ("A::operator()", 1)]),
    ("namespace a::b {\nnamespace {\nvoid f() {\n}\n}\n}\nvoid g() {}\n", [("f", 2), ("g", 1)]),
    ('extern "C" {\nvoid f() {}\n}\nextern "C" void g() {\n}\n', [("f", 1), ("g", 2)]),
    ("struct A {\n    int f() {\n    }\n    A() = default;\n};\n", [("A::f", 2)]),
    ("class A {\n  public:\n    class B {\n        void f() {}\n    };\n};\n", [("A::B::f", 1)]),
    ("void f() {\n    auto g = [](int x) {\n        return x;\n    };\n}\n", [("f", 5)]),
    ("constexpr auto g = [](int x) { return x; };\n", []),
    ('const char *f() {\n    return "}{" R"x(}}}\n)")x";\n    // }\n    /* } */\n}\n', [("f", 6)]),
    ("char f() {\n    return '}' + '\\'' + 1'000;\n}\n", [("f", 3)]),
    ("TEST_F(ServerTest, Answers) {\n}\n", [("ServerTest.Answers", 2)]),
    ('[[gnu::target("avx2")]] static void f(int) {\n}\n', [("f", 2)]),
    ('__attribute__((target("avx2"))) void f(int) {\n}\n', [("f", 2)]),
    ("auto f(int a) -> std::pair<int, int> {\n}\n", [("f", 2)]),
    ("std::function<void(int)> f(int a = g(1)) noexcept {\n}\n", [("f", 2)]),
    ("template <typename T>\n    requires std::integral<T>\nT f(T x) {\n}\n", [("f", 4)]),
    ("static_assert(sizeof(A{}) == 4);\nvoid f() {}\n", [("f", 1)]),
    ("#define F(x) {\nvoid f() {}\n", [("f", 1)]),
    ("struct Point { int x; } make_point();\nPoint make() {\n}\n", [("make", 2)]),
])
def test_functions_are_found(text, expected):
    assert functions(text) == expected


@pytest.mark.parametrize("body, expected", [
    ("int a; int b = 2; int c{3};", ["a", "b", "c"]),
    ("int a, *b, c[3];", ["a", "b", "c"]),
    ("std::map<int, std::pair<int, int>> a;", ["a"]),
    ("void (*run)(int, int) = nullptr; int (&r)[3];", ["run", "r"]),
    ("int f(); int g() const; virtual ~A(); A &operator=(const A &) = delete;", []),
    ("static int a; static constexpr int kB = 1; using T = int; typedef int U;", []),
    ("friend class B; class C; enum class D : int; enum E { kA }; struct F;", []),
    ("unsigned a : 3; unsigned b : 5;", ["a", "b"]),
    ("union { int a; float b; }; struct { int x; int y; } p;", ["a", "b", "p"]),
    ("alignas(64) std::atomic<int> a{0}; [[no_unique_address]] B b;", ["a", "b"]),
    ("std::function<void(int)> a; std::array<int, 1 << 3> b;", ["a", "b"]),
    ("template <typename T> void f(T x); template <typename T> static T kX;", []),
    ("struct B { int inner; }; B b; static_assert(sizeof(B) == 4);", ["b"]),
    ("mutable const int *a = nullptr; volatile int b;", ["a", "b"]),
    ("int a = f(1, 2), b = 3;", ["a", "b"]),
])
def test_members_are_found(body, expected):
    assert members(f"class A : public B<int> {{\n  public:\n    {body}\n}};\n")["A"] == expected


def test_classes_in_functions_and_in_classes_count():
    assert members("void f() {\n    struct L {\n        int a;\n    };\n    L l{1};\n}\n"
                   "class A {\n    class B final {\n        int b;\n    };\n};\n") == {
        "f::L": ["a"], "A::B": ["b"], "A": []}


# ---------------------------------------------------------------- check_shape.py

LISTED = "tools/check/shape_exceptions.txt"


def function_of(lines):
    return "int f() {\n" + "    g();\n" * (lines - 2) + "}\n"


def class_of(count):
    return "class A {\n" + "".join(f"    int a{i}_;\n" for i in range(count)) + "};\n"


def test_shape_within_the_limits_passes(tree):
    passes(tree("check_shape", {
        "a/f.cpp": function_of(70), "a/g.h": class_of(20), "a/long.asm": "nop\n" * 800,
        "t/a.py": "def f():\n" + "    g()\n" * 69, "third_party/x/a.cpp": function_of(900)}))


@pytest.mark.parametrize("name, text, start", [
    ("a/f.cpp", function_of(71), "a/f.cpp:1: function f: 71 lines"),
    ("a/f.h", "\n" + function_of(71), "a/f.h:2: function f: 71 lines"),
    ("a/f.h", class_of(21), "a/f.h:1: class A: 21 data members"),
    ("a/f.asm", "nop\n" * 801, "a/f.asm:1: file -: 801 lines"),
    ("t/a.py", "\ndef f():\n" + "    g()\n" * 70, "t/a.py:2: function f: 71 lines"),
    ("tests/unit/a_test.cpp", "TEST(A, B) {" + "\n" * 70 + "}\n", "tests/unit/a_test.cpp:1: function A.B"),
])
def test_shape_beyond_the_limits_is_found(tree, name, text, start):
    fails(tree("check_shape", {name: text}), start)


def test_shape_exceptions_carry_a_reason_and_are_needed(tree):
    files = {"a/f.cpp": function_of(71), "a/g.h": class_of(21), "a/h.cpp": "\n" * 801,
             "t/a.py": "def f():\n" + "    g()\n" * 70}
    listed = ("# what may be larger\n\nfunction a/f.cpp f a table\nclass a/g.h A as the device says\n"
              "file a/h.cpp - blank\ndata t/a.py - sentences\n")
    passes(tree("check_shape", {**files, LISTED: listed}))
    fails(tree("check_shape", {"a/f.cpp": function_of(70), "a/g.h": class_of(20)}),
          f"{LISTED}:3: 'function a/f.cpp f' needs no", f"{LISTED}:4: 'class a/g.h A' needs no")
    fails(tree("check_shape", {"a/f.cpp": function_of(71), "a/g.h": class_of(21),
                               LISTED: listed.replace(" a table", "")}),
          "a/f.cpp:1: function f", f"{LISTED}:3: an exception without a reason")


def test_new_sources_are_checked_before_git_tracks_them(tree):
    passes(tree("check_shape", {"a/f.cpp": function_of(70)}))
    (tree.root / "a/new.cpp").write_text(function_of(71))
    done = subprocess.run([sys.executable, str(CHECKS / "check_shape.py"), "--root", str(tree.root)],
                          capture_output=True, text=True, timeout=120)
    fails(done, "a/new.cpp:1: function f: 71 lines")


def test_shape_lists_the_largest(tree):
    done = tree("check_shape", {"a/f.cpp": function_of(9) + "int g() {}\n", "a/g.h": class_of(3)},
                "--list", "1")
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["function 9 lines: f a/f.cpp:1", "file 10 lines: - a/f.cpp:1",
                                        "class 3 data members: A a/g.h:1"]


# ---------------------------------------------------------------- check_homes.py

ENGINE = {"llama/engine.h": "class Engine {\n    void run();\n    struct State;\n};\n"
                            "class KvCache {\n    void clear();\n};\n"}


@pytest.mark.parametrize("name, text", [
    ("llama/engine.cpp", "void Engine::run() {}\nvoid KvCache::clear() {}\n"),
    ("llama/engine_slots_metal.cpp", "void Engine::run() {}\n"),
    ("llama/metal/engine.cpp", "void Engine::run() {}\n"),
    ("llama/kv_cache_hosted.cpp", "void KvCache::clear() {}\n"),
    ("llama/engine.cpp", "struct Engine::State {\n    void f();\n};\nvoid Engine::State::f() {}\n"),
    ("llama/other.cpp", "class Own {\n    void f();\n};\nvoid Own::f() {}\nvoid ns::g() {}\n"),
    ("llama/other.cpp", "void std::swap(int a) {}\nvoid f() { Engine::run(); }\n"),
])
def test_members_at_home(tree, name, text):
    passes(tree("check_homes", {**ENGINE, name: text}))


@pytest.mark.parametrize("name, text", [
    ("llama/placement_metal.cpp", "void f() {}\nvoid Engine::run() {}\n"),
    ("llama/engines.cpp", "\nvoid Engine::run() {}\n"),
    ("llama/kv_cache.cpp", "\nvoid Engine::run() {}\n"),
    ("llama/other.h", "\ninline void Engine::State::f() {}\n"),
])
def test_members_elsewhere_are_found(tree, name, text):
    fails(tree("check_homes", {**ENGINE, name: text}), f"{name}:2: members of Engine, at home in engine*")


def test_a_generators_file_may_leave_that_word_out(tree):
    passes(tree("check_homes", {
        "codegen/vector_generator.h": "class VectorGenerator {\n    void f();\n};\n",
        "codegen/vector.cpp": "void VectorGenerator::f() {}\n",
        "codegen/vector_blocks.cpp": "void VectorGenerator::f() {}\n"}))


def test_homes_exceptions_are_needed(tree):
    listed = "tools/check/homes_exceptions.txt"
    files = {**ENGINE, "llama/x.cpp": "void Engine::run() {}\n",
             listed: "llama/x.cpp Engine two worlds\n"}
    passes(tree("check_homes", files))
    fails(tree("check_homes", {"llama/x.cpp": "\n"}), f"{listed}:1: 'llama/x.cpp Engine' needs no")


# ---------------------------------------------------------------- check_headers.py


def test_headers_that_compile_alone_pass_and_are_remembered(tree):
    files = {"a/a.h": "#pragma once\n#include <cstdint>\ninline uint8_t a;\n",
             "a/b.h": "#pragma once\n#include \"a/a.h\"\ninline uint8_t b = a;\n",
             "a/c_metal.h": "#ifndef METAL\n#error metal\n#endif\n",
             "a/hosted/d.h": "#ifdef METAL\n#error hosted\n#endif\n",
             "tests/e.h": "#ifndef TESTS\n#error tests\n#endif\n",
             "a/t_inl.h": "#pragma once\nTYPE twice(TYPE x) { return 2 * x; }\n",
             "a/t.cpp": "#define TYPE int\n#include \"a/t_inl.h\"\n"}
    passes(tree("check_headers", files))
    kept = (tree.root / "build/check/headers").read_text()
    assert len(kept.split()) == 2 + 2 + 1 + 1 + 1
    passes(tree("check_headers", {}))
    assert (tree.root / "build/check/headers").read_text() == kept
    # What an included header says counts as well.
    fails(tree("check_headers", {"a/a.h": "#pragma once\n#include <cstdint>\n"}),
          "a/b.h:3: alone, hosted: ", "a/b.h:3: alone, metal: ")


def test_a_header_that_a_source_includes_first_is_left_to_the_build(tree):
    files = {"a/a.h": "#pragma once\nuint8_t a;\n", "a/a.cpp": "// Why.\n\n#include \"a/a.h\"\n"}
    passes(tree("check_headers", files))
    fails(tree("check_headers", {}, "--all"), "a/a.h:2: alone, hosted", "a/a.h:2: alone, metal")
    fails(tree("check_headers", {"a/a.cpp": "#include <cstdint>\n#include \"a/a.h\"\n"}),
          "a/a.h:2: alone, hosted", "a/a.h:2: alone, metal")


@pytest.mark.parametrize("files, start", [
    ({"a/x_inl.h": "T x;\n", "a/y_inl.h": "#include \"a/x_inl.h\"\n", "a/a.cpp": "\n",
      "a/b.cpp": "#include \"a/x_inl.h\"\n"}, "a/y_inl.h:1: no .cpp includes this"),
    ({"a/x_inl.h": "\n", "a/y.h": "#include \"a/x_inl.h\"\n", "a/a.cpp": "#include \"a/x_inl.h\"\n"},
     "a/y.h:1: a header includes a/x_inl.h"),
    ({"a/x_inl.cpp": "\n"}, "a/x_inl.cpp:1: _inl names text"),
])
def test_text_for_several_targets(tree, files, start):
    fails(tree("check_headers", files), start)


# ---------------------------------------------------------------- check_tests.py

ELSEWHERE = "tools/check/tests_elsewhere.txt"


def test_sources_with_a_test_of_their_name_pass(tree):
    passes(tree("check_tests", {
        "kernel_lib/cpu/acpi.cpp": "", "tests/unit/cpu/acpi_test.cpp": "",
        "llama/engine/engine_metal.cpp": "", "llama/engine/engine_hosted.cpp": "",
        "tests/unit/engine_test.cpp": "", "tools/bench/x.cpp": "", "third_party/y.cpp": "",
        "compute/a/gemv.cpp": "", "compute/b/gemv.cpp": "", "tests/unit/compute/a/gemv_test.cpp": "",
        "tests/unit/b/gemv_test.cpp": ""}))


def test_a_source_without_is_found(tree):
    files = {"compute/a/gemv.cpp": "", "compute/b/gemv.cpp": "", "tests/unit/a/gemv_test.cpp": "",
             "net/x_hosted.cpp": ""}
    fails(tree("check_tests", files), "compute/b/gemv.cpp:1: no tests/unit/.../gemv_test.cpp",
          "net/x_hosted.cpp:1: no tests/unit/.../x_test.cpp")
    passes(tree("check_tests", {ELSEWHERE: "compute/b/gemv.cpp gemv_test.cpp through the list\n"
                                           "net/x_hosted.cpp the hosted program's sockets\n"}))


def test_the_list_of_tests_elsewhere_is_true(tree):
    files = {"a/x.cpp": "", "tests/unit/x_test.cpp": "", "a/y.cpp": "",
             ELSEWHERE: "a/x.cpp x_test.cpp\na/y.cpp y_test.cpp and test_y.py\na/z.cpp gone\n"}
    fails(tree("check_tests", files), f"{ELSEWHERE}:1: 'a/x.cpp' needs no",
          f"{ELSEWHERE}:2: there is no test_y.py", f"{ELSEWHERE}:2: there is no y_test.cpp",
          f"{ELSEWHERE}:3: 'a/z.cpp' needs no")


# ---------------------------------------------------------------- check_docs.py


@pytest.mark.parametrize("text", [
    "x" * 100, "| " + "x" * 200 + " |", "```\n" + "x" * 200 + "\n```",
    "See <https://example.org/" + "x" * 120 + ">.", "[up](../README.md#part), [here](#part)",
    "`llama/a.h`, `llama/`, `llama/{a,b}.h`, `GET /llama/gone.h`, `gone/b.h`, `[a](b.md)`",
    "so many, so few, whoever: of comments only",
])
def test_documents_that_pass(tree, text):
    passes(tree("check_docs", {"docs/a.md": text + "\n", "README.md": "\n", "llama/a.h": "\n"}))


@pytest.mark.parametrize("text, message", [
    ("x" * 101, "101 columns"),
    ("```\n```\n" + "x" * 101, "101 columns"),
    ("x" * 101 + " https://example.org/", "122 columns"),
    ("[up](gone.md#part)", "the link leads nowhere: gone.md#part"),
    ("`llama/gone.h`", "there is no llama/gone.h"),
    ("`llama/gone/`", "there is no llama/gone/"),
])
def test_documents_that_do_not(tree, text, message):
    number = text.count("\n") + 1
    fails(tree("check_docs", {"docs/a.md": text + "\n", "llama/a.h": "\n"}),
          f"docs/a.md:{number}: {message}")


def test_docs_exceptions_are_needed(tree):
    listed = "tools/check/docs_exceptions.txt"
    files = {"a.md": "`llama/hello.h`\n", "llama/a.h": "\n", listed: "a.md llama/hello.h to write\n"}
    passes(tree("check_docs", files))
    fails(tree("check_docs", {"llama/hello.h": "\n"}), f"{listed}:1: 'a.md llama/hello.h' needs no")


@pytest.mark.parametrize("word", ["so " "many", "so " "few", "so " "long", "of " "late", "who" "ever"])
def test_words_that_no_comment_needs(tree, word):
    files = {"README.md": "\n", "a/a.cpp": f"int a;  // there are {word} of them\n",
             "a/b.cpp": f"const char *b = \"{word}\";\n"}
    fails(tree("check_docs", files), f"a/a.cpp:1: '{word}'")


@pytest.mark.parametrize("name", ["a/a.py", "a/a.sh"])
def test_words_that_no_comment_of_a_script_needs(tree, name):
    fails(tree("check_docs", {"README.md": "\n", name: "a = 1  # of " "late\n"}), f"{name}:1: 'of " "late'")


# ---------------------------------------------------------------- check_lint.py, compile database

TIDY = ("Checks: '-*,readability-identifier-naming'\nHeaderFilterRegex: '.*'\nCheckOptions:\n"
        "  readability-identifier-naming.FunctionCase: lower_case\n")


def test_lint_names_offences_once_and_remembers_what_passed(tree):
    files = {".clang-tidy": TIDY, "a/a.h": "#pragma once\nvoid BadName();\n",
             "a/a.cpp": "#include \"a/a.h\"\n", "a/b.cpp": "#include \"a/a.h\"\n", "a/c.cpp": "int c;\n",
             "a/d_metal.cpp": "void AlsoBad() {}\n"}
    fails(tree("check_lint", files), "a/a.h:2: invalid case style for function 'BadName'")
    assert len((tree.root / "build/check/lint").read_text().split()) == 1
    passes(tree("check_lint", {"a/a.h": "#pragma once\nvoid good_name();\n"}))
    kept = (tree.root / "build/check/lint").read_text()
    assert len(kept.split()) == 3
    (tree.root / ".clang-tidy").write_text(TIDY.replace("lower_case", "CamelCase"))
    fails(tree("check_lint", {}), "a/a.h:2: invalid case style for function 'good_name'")


def test_a_source_that_does_not_compile_is_an_offence_of_lint(tree):
    fails(tree("check_lint", {".clang-tidy": TIDY, "a/a.cpp": "\nint a = gone;\n"}),
          "a/a.cpp:2: use of undeclared identifier 'gone'")


def test_compile_database_knows_each_source_once_in_its_build(tree):
    done = tree("compile_database", {"a/a.cpp": "\n", "a/m_metal.cpp": "\n", "a/h_hosted.cpp": "\n",
                                     "tests/unit/a_test.cpp": "\n", "tools/bench/b.cpp": "\n",
                                     "a/metal/m.h": "\n", "a/a.h": "\n", "a/t_inl.h": "\n"})
    assert done.returncode == 0, done.stderr
    database = json.loads((tree.root / "compile_commands.json").read_text())
    flags = {one["file"]: one["arguments"] for one in database}
    assert len(flags) == len(database) == 7
    assert "-DMETAL" in flags["a/m_metal.cpp"] and "-DMETAL" in flags["a/metal/m.h"]
    assert "-DTESTS" in flags["tests/unit/a_test.cpp"]
    for name in ("a/a.cpp", "a/a.h", "a/h_hosted.cpp", "tools/bench/b.cpp"):
        assert "-Wall" in flags[name] and flags[name][-1] == name


def test_the_makefile_tells_the_builds_apart(tmp_path):
    assert shutil.which("make")
    done = subprocess.run(["make", "-s", "print-build"], cwd=ROOT, capture_output=True, text=True)
    facts = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert "-mno-red-zone" in facts["metal flags"] and "-mno-red-zone" not in facts["hosted flags"]
    assert "-frtti" in facts["test flags"]
    assert "_hosted.cpp" not in facts["metal sources"] and "_metal.cpp" not in facts["hosted sources"]
