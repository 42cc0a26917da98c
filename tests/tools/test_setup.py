"""The set-up scripts, offline: in a temporary copy, with a file:// mirror and stand-ins for apt and sudo."""
import gzip
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import tarfile
import time
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEX = "0123456789abcdef"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def run(*command, **options):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, **options)


# ---------------------------------------------------------------- third_party/fetch.sh


def make_tarball(files):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


def make_deb(folder, package, version, files):
    tree = folder / f"{package}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: for a test\n")
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    deb = folder / f"{package}_{version}_all.deb"
    done = run("dpkg-deb", "--root-owner-group", "--build", tree, deb)
    assert done.returncode == 0, done.stderr
    return deb.read_bytes()


class Tree:
    """A copy of fetch.sh with pins of our own and a mirror in a folder."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "a project"
        self.mirror = tmp_path / "mirror"
        self.sources = tmp_path / "sources"
        self.third_party = self.root / "third_party"
        self.cache = self.third_party / "cache"
        self.cache.mkdir(parents=True)
        self.sources.mkdir()
        shutil.copy(ROOT / "third_party/fetch.sh", self.third_party)
        self.rows = []
        self.use_mirror(self.mirror)

    def use_mirror(self, folder):
        (self.sources / "test.list").write_text(f"deb [trusted=yes] file://{folder} bookworm main\n")

    def pin(self, name, kind, package, version, file, archive, tree, keep):
        self.rows.append("\t".join(
            [name, "1.0", "MIT", kind, package, version, file, archive, tree, keep]))
        (self.third_party / "pins.tsv").write_text("# name\t...\n" + "\n".join(self.rows) + "\n")

    def serve(self, packages=(), sources=()):
        """Writes the mirror. Each kind is a list of (package, version, file, bytes)."""
        index = self.mirror / "dists/bookworm/main"
        pool = self.mirror / "pool"
        for folder in (index / "binary-amd64", index / "source", pool):
            folder.mkdir(parents=True, exist_ok=True)
        text = ""
        for package, version, file, data in packages:
            (pool / file).write_bytes(data)
            text += (f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
                     f"Filename: pool/{file}\nSize: {len(data)}\nSHA256: {sha256(data)}\n"
                     f"Description: x\nMaintainer: x\n\n")
        (index / "binary-amd64/Packages.gz").write_bytes(gzip.compress(text.encode()))
        text = ""
        for package, version, file, data in sources:
            (pool / file).write_bytes(data)
            dsc = b"x"
            name = f"{package}_{version}.dsc"
            (pool / name).write_bytes(dsc)
            text += (f"Package: {package}\nBinary: {package}\nVersion: {version}\nArchitecture: any\n"
                     f"Format: 3.0 (quilt)\nDirectory: pool\nChecksums-Sha256:\n"
                     f" {sha256(dsc)} {len(dsc)} {name}\n {sha256(data)} {len(data)} {file}\n\n")
        (index / "source/Sources.gz").write_bytes(gzip.compress(text.encode()))

    def fetch(self, *arguments):
        return run(self.third_party / "fetch.sh", "--sources", self.sources, *arguments)

    def leftovers(self):
        return [p.name for p in self.cache.iterdir() if p.name.startswith(("apt.", "unpack."))]


def tree_hash(files):
    lines = "".join(f"{sha256(text.encode())}  ./{name}\n" for name, text in sorted(files.items()))
    return sha256(lines.encode())


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


TARBALL = make_tarball({"tiny-1.0/src/a.c": "int a;\n", "tiny-1.0/COPYING": "free\n",
                        "tiny-1.0/junk": "x\n"})
KEPT = {"src/a.c": "int a;\n", "COPYING": "free\n"}
KEEP = "src=src COPYING=COPYING"


@pytest.fixture
def tiny(tree):
    tree.pin("tiny", "source", "tiny", "1.0-1", "tiny_1.0.orig.tar.gz", sha256(TARBALL),
             tree_hash(KEPT), KEEP)
    tree.archive = tree.cache / "tiny_1.0.orig.tar.gz"
    tree.src = tree.third_party / "tiny/src"
    return tree


def test_unpacks_what_is_kept_and_is_quiet_the_second_time(tiny):
    tiny.archive.write_bytes(TARBALL)
    first = tiny.fetch("--offline")
    assert first.returncode == 0, first.stderr
    assert "tiny 1.0" in first.stdout
    assert (tiny.src / "src/a.c").read_text() == "int a;\n"
    assert not (tiny.src / "junk").exists()
    second = tiny.fetch("--offline")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert tiny.leftovers() == []


def test_an_interrupted_run_leaves_nothing_behind(tiny):
    tiny.archive.write_bytes(TARBALL)
    (tiny.cache / "unpack.tiny.1/all/src").mkdir(parents=True)
    (tiny.cache / "apt.abcdef").mkdir()
    assert tiny.fetch("--offline").returncode == 0
    assert tiny.leftovers() == []


@pytest.mark.parametrize("unpacked_before", [False, True])
def test_altered_archive_is_named_with_both_hashes(tiny, unpacked_before):
    tiny.archive.write_bytes(TARBALL)
    if unpacked_before:
        assert tiny.fetch("--offline").returncode == 0
    altered = bytearray(TARBALL)
    altered[len(altered) // 2] ^= 1
    tiny.archive.write_bytes(altered)
    done = tiny.fetch("--offline")
    assert done.returncode == 1
    assert str(tiny.archive) in done.stderr
    assert sha256(TARBALL) in done.stderr and sha256(bytes(altered)) in done.stderr
    assert tiny.src.exists() == unpacked_before


def test_missing_archive_offline_is_named(tiny):
    done = tiny.fetch("--offline")
    assert done.returncode == 1
    assert str(tiny.archive) in done.stderr and "missing" in done.stderr
    assert not tiny.src.exists()


def test_missing_archive_without_a_mirror_is_named(tiny):
    tiny.use_mirror(tiny.mirror / "no-such-mirror")
    done = tiny.fetch()
    assert done.returncode == 1
    assert "tiny_1.0.orig.tar.gz" in done.stderr and "network" in done.stderr
    assert tiny.leftovers() == [] and not tiny.src.exists()


def test_machine_without_a_debian_source_is_told(tiny):
    (tiny.sources / "test.list").write_text("deb http://192.0.2.1/other jammy universe\n")
    done = tiny.fetch()
    assert done.returncode == 1 and "no apt source" in done.stderr


def test_disabled_and_foreign_entries_are_left_out(tiny):
    (tiny.sources / "test.list").write_text("# deb http://192.0.2.1/debian bookworm main\n"
                                            "deb http://192.0.2.1/other bookworm stable\n")
    (tiny.sources / "more.sources").write_text(
        "Types: deb\nEnabled: no\nURIs: http://192.0.2.1/debian\nSuites: bookworm\nComponents: main\n")
    done = tiny.fetch()
    assert done.returncode == 1 and "no apt source" in done.stderr


@pytest.mark.parametrize("style", ["list", "sources"])
def test_source_archive_comes_from_the_mirror(tiny, style):
    tiny.serve(sources=[("tiny", "1.0-2", "tiny_1.0.orig.tar.gz", TARBALL)])
    if style == "sources":
        (tiny.sources / "test.list").unlink()
        (tiny.sources / "test.sources").write_text(
            f"# a comment\nTypes: deb\nURIs: file://{tiny.mirror}\nSuites: bookworm bookworm-updates\n"
            "Components: main contrib\nTrusted: yes\n")
    done = tiny.fetch()
    assert done.returncode == 0, done.stderr
    assert tiny.archive.read_bytes() == TARBALL
    assert (tiny.src / "COPYING").exists() and tiny.leftovers() == []


def test_a_broken_source_beside_the_good_one_does_no_harm(tiny):
    tiny.serve(sources=[("tiny", "1.0-1", "tiny_1.0.orig.tar.gz", TARBALL)])
    (tiny.sources / "other.list").write_text(f"deb file://{tiny.root}/no-such-place stable main\n")
    done = tiny.fetch()
    assert done.returncode == 0, done.stderr
    assert tiny.archive.read_bytes() == TARBALL


def test_release_may_be_named_by_its_age(tiny):
    tiny.serve(sources=[("tiny", "1.0-1", "tiny_1.0.orig.tar.gz", TARBALL)])
    (tiny.mirror / "dists/oldstable").symlink_to("bookworm")
    (tiny.sources / "test.list").write_text(
        f"deb [ trusted=yes ] file://{tiny.mirror} oldstable contrib main # comment\n")
    done = tiny.fetch()
    assert done.returncode == 0, done.stderr


def test_mirror_that_serves_another_archive_is_refused(tiny):
    other = make_tarball({"tiny-1.0/src/a.c": "int evil;\n", "tiny-1.0/COPYING": "free\n"})
    tiny.serve(sources=[("tiny", "1.0-1", "tiny_1.0.orig.tar.gz", other)])
    done = tiny.fetch()
    assert done.returncode == 1
    assert sha256(TARBALL) in done.stderr and sha256(other) in done.stderr
    assert not tiny.archive.exists() and not tiny.src.exists()


def test_mirror_that_moved_on_says_what_it_offers(tiny):
    tiny.serve(sources=[("tiny", "2.0-1", "tiny_2.0.orig.tar.gz", TARBALL)])
    done = tiny.fetch()
    assert done.returncode == 1
    assert "no longer has" in done.stderr and "2.0-1" in done.stderr and "1.0-1" in done.stderr


def test_changed_pin_unpacks_anew(tiny):
    tiny.archive.write_bytes(TARBALL)
    assert tiny.fetch("--offline").returncode == 0
    tiny.rows.clear()
    kept = {"COPYING": "free\n"}
    tiny.pin("tiny", "source", "tiny", "1.0-1", "tiny_1.0.orig.tar.gz", sha256(TARBALL),
             tree_hash(kept), "COPYING=COPYING")
    done = tiny.fetch("--offline")
    assert done.returncode == 0, done.stderr
    assert not (tiny.src / "src").exists() and (tiny.src / "COPYING").exists()


def test_archive_without_a_kept_file_leaves_no_half_tree(tiny):
    tiny.rows.clear()
    tiny.pin("tiny", "source", "tiny", "1.0-1", "tiny_1.0.orig.tar.gz", sha256(TARBALL),
             tree_hash(KEPT), "src=src LICENSE=LICENSE")
    tiny.archive.write_bytes(TARBALL)
    done = tiny.fetch("--offline")
    assert done.returncode == 1 and "LICENSE" in done.stderr
    assert not tiny.src.exists()


def test_verify_finds_an_edited_tree(tiny):
    tiny.archive.write_bytes(TARBALL)
    assert tiny.fetch("--offline", "--verify").returncode == 0
    (tiny.src / "src/a.c").write_text("int b;\n")
    done = tiny.fetch("--offline", "--verify")
    assert done.returncode == 1 and "changed" in done.stderr


DEB_FILES = {"usr/share/tiny/a.h": "int a;\n"}


def pin_deb(tree, data):
    tree.pin("tiny", "deb", "tiny", "1.0", "tiny_1.0_all.deb", sha256(data),
             tree_hash({"include/a.h": "int a;\n"}), "usr/share/tiny=include")


def test_binary_package_comes_from_the_mirror(tree, tmp_path):
    data = make_deb(tmp_path, "tiny", "1.0", DEB_FILES)
    pin_deb(tree, data)
    tree.serve(packages=[("tiny", "1.0", "tiny_1.0_all.deb", data)])
    done = tree.fetch()
    assert done.returncode == 0, done.stderr
    assert (tree.third_party / "tiny/src/include/a.h").read_text() == "int a;\n"
    assert (tree.cache / "tiny_1.0_all.deb").exists()
    assert tree.fetch("--offline").stdout == ""


def test_rebuilt_package_with_the_same_files_is_accepted(tree, tmp_path):
    pin_deb(tree, make_deb(tmp_path, "tiny", "1.0", DEB_FILES))
    rebuilt = make_deb(tmp_path, "tiny", "1.1", DEB_FILES)
    tree.serve(packages=[("tiny", "1.1", "tiny_1.1_all.deb", rebuilt)])
    done = tree.fetch()
    assert done.returncode == 0, done.stderr
    assert "1.1" in done.stdout
    assert (tree.third_party / "tiny/src/include/a.h").exists()


def test_newer_package_with_other_files_is_refused(tree, tmp_path):
    pin_deb(tree, make_deb(tmp_path, "tiny", "1.0", DEB_FILES))
    newer = make_deb(tmp_path, "tiny", "2.0", {"usr/share/tiny/a.h": "int other;\n"})
    tree.serve(packages=[("tiny", "2.0", "tiny_2.0_all.deb", newer)])
    done = tree.fetch()
    assert done.returncode == 1
    assert "no longer has tiny 1.0" in done.stderr
    assert not (tree.third_party / "tiny/src").exists() and tree.leftovers() == []


def test_tool_is_taken_out_of_a_package(tree, tmp_path):
    data = make_deb(tmp_path, "tiny", "1.0", {"usr/bin/tiny": "#!/bin/sh\n"})
    tree.serve(packages=[("tiny", "1.0", "tiny_1.0_all.deb", data)])
    target = tree.root / "build/tools/tiny"
    done = tree.fetch("--tool", "tiny", "usr/bin/tiny", target)
    assert done.returncode == 0, done.stderr
    assert target.read_text() == "#!/bin/sh\n" and tree.leftovers() == []
    target.unlink()  # as `make clean` does; the archive stays
    assert tree.fetch("--offline", "--tool", "tiny", "usr/bin/tiny", target).returncode == 0
    assert target.exists()


def test_pins_are_complete():
    rows = [line.split("\t") for line in (ROOT / "third_party/pins.tsv").read_text().splitlines()
            if not line.startswith("#")]
    assert {row[0] for row in rows} == {"lwip", "musl", "llhttp", "rapidjson"}
    for row in rows:
        assert len(row) == 10
        assert all(len(row[i]) == 64 and set(row[i]) <= set(HEX) for i in (7, 8))


# ---------------------------------------------------------------- tools/setup/setup.sh


class Machine:
    """A machine with the packages that the file `installed` lists, with or without root and sudo."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "a project"
        self.bin = tmp_path / "bin"
        self.installed = tmp_path / "installed"
        self.calls = tmp_path / "calls"
        self.calls.write_text("")
        (self.root / "tools/setup").mkdir(parents=True)
        (self.root / "third_party").mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "tools/setup/setup.sh", self.root / "tools/setup")
        self.script(self.root / "third_party/fetch.sh", f'echo "fetch $*" >> "{self.calls}"')
        self.script(self.root / "tools/setup/make_venv.sh", "exit 0")
        self.script(self.bin / "promtool", "exit 0")
        self.script(self.bin / "dpkg-query", f"sed 's/^/ii  /' '{self.installed}'")
        self.be(root=True, sudo=False)
        self.apt("install")

    @staticmethod
    def script(path, body):
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def be(self, root, sudo):
        self.script(self.bin / "id", f"echo {0 if root else 1000}")
        self.script(self.bin / "sudo", f'[ {int(sudo)} = 1 ] || exit 1\necho "sudo $*" >> "{self.calls}"\n'
                    '[ "$1" != -n ] || shift\nexec "$@"')

    def apt(self, behaviour):
        body = f'echo "apt-get $*" >> "{self.calls}"\n'
        if behaviour == "install":
            body += (f'for w in "$@"; do case "$w" in *:*|*=*|-*) ;; *) echo "$w" >> "{self.installed}" ;;'
                     ' esac; done')
        else:
            body += 'echo "E: Could not resolve host"; exit 100'
        self.script(self.bin / "apt-get", body)

    def has(self, *packages):
        self.installed.write_text("".join(f"{p}\n" for p in packages))

    def setup(self, *arguments):
        return run(self.root / "tools/setup/setup.sh", *arguments, stdin=subprocess.DEVNULL,
                   env={**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin"})


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def packages_of(machine, *groups):
    return machine.setup("--list", *groups).stdout.split()


def test_help_names_every_group(machine):
    done = machine.setup("--help")
    assert done.returncode == 0
    for group in ("build", "run", "test", "train", "bench", "browser"):
        assert f"  {group} " in done.stdout


@pytest.mark.parametrize("word", ["--frobnicate", "everything"])
def test_wrong_argument(machine, word):
    done = machine.setup(word)
    assert done.returncode == 2 and word in done.stderr


def test_nothing_missing_is_quiet(machine):
    machine.has(*packages_of(machine))
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "apt-get" not in machine.calls.read_text()


def test_missing_packages_are_installed_and_only_those(machine):
    wanted = packages_of(machine, "build")
    machine.has(*[p for p in wanted if p not in ("nasm", "lld-19")])
    done = machine.setup("build")
    assert done.returncode == 0, done.stderr
    calls = machine.calls.read_text()
    assert "apt-get -o DPkg::Lock::Timeout=300 update" in calls
    assert "--no-install-recommends lld-19 nasm\n" in calls
    assert "clang-19" not in calls and "sudo" not in calls
    assert all(line.startswith("setup: ") for line in done.stdout.splitlines())


def test_sudo_is_used_when_not_root(machine):
    machine.be(root=False, sudo=True)
    machine.has()
    done = machine.setup("run")
    assert done.returncode == 0, done.stderr
    calls = machine.calls.read_text()
    assert "sudo apt-get -o DPkg::Lock::Timeout=300 update" in calls
    assert "sudo env DEBIAN_FRONTEND=noninteractive apt-get" in calls


def test_neither_root_nor_sudo_prints_what_to_run(machine):
    machine.be(root=False, sudo=False)
    machine.has("python3")
    done = machine.setup("run")
    assert done.returncode == 1
    assert "qemu-system-x86" in done.stderr and "neither root nor sudo" in done.stderr
    assert "apt-get install --no-install-recommends qemu-system-x86" in done.stderr
    assert "apt-get" not in machine.calls.read_text()


def test_failing_network_names_what_is_missing(machine):
    machine.apt("fail")
    machine.has("python3")
    done = machine.setup("run")
    assert done.returncode == 1
    assert "could not get these Debian packages: qemu-system-x86" in done.stderr
    assert "Could not resolve host" in done.stderr


def test_a_failing_fetch_fails_the_setup(machine):
    machine.has(*packages_of(machine, "build"))
    machine.script(machine.root / "third_party/fetch.sh", "echo no archive >&2; exit 1")
    done = machine.setup("build")
    assert done.returncode == 1 and "no archive" in done.stderr


def test_a_failing_venv_fails_the_setup_of_the_tests_only(machine):
    machine.has(*packages_of(machine))
    machine.script(machine.root / "tools/setup/make_venv.sh", "echo no packages >&2; exit 1")
    done = machine.setup("test")
    assert done.returncode == 1 and "no packages" in done.stderr
    assert machine.setup("build", "run").returncode == 0


# ---------------------------------------------------------------- tools/setup/make_venv.sh


def make_wheel(folder, name):
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "answer = 42\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\n"
                                          "Root-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


class Venv:
    """A copy of make_venv.sh and a folder of wheels instead of PyPI."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "a project"
        self.wheels = tmp_path / "wheels"
        for folder in (self.root / "tools/setup", self.root / "tests", self.wheels):
            folder.mkdir(parents=True)
        for script in ("venv.sh", "make_venv.sh", "make_reference.sh"):
            shutil.copy(ROOT / "tools/setup" / script, self.root / "tools/setup")

    def want(self, name, digest):
        (self.root / "tests/requirements.txt").write_text(f"{name}==1.0 --hash=sha256:{digest}\n")

    def make(self, **environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        return run(self.root / "tools/setup/make_venv.sh", env={
            **clean, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels), **environment})

    def answer(self):
        return run(self.root / "build/venv/bin/python", "-c", "import tiny; print(tiny.answer)").stdout


@pytest.fixture
def venv(tmp_path):
    return Venv(tmp_path)


def test_venv_holds_what_is_pinned_and_is_made_once(venv):
    venv.want("tiny", sha256(make_wheel(venv.wheels, "tiny").read_bytes()))
    done = venv.make()
    assert done.returncode == 0, done.stderr
    assert venv.answer() == "42\n"
    shutil.rmtree(venv.wheels)
    done = venv.make()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_venv_refuses_another_package_and_tries_again(venv):
    digest = sha256(make_wheel(venv.wheels, "tiny").read_bytes())
    venv.want("tiny", "0" * 64)
    done = venv.make()
    assert done.returncode == 1 and "tests/requirements.txt" in done.stderr
    venv.want("tiny", digest)
    assert venv.make().returncode == 0
    assert venv.answer() == "42\n"


def test_venv_without_a_network_says_so(venv):
    venv.want("nowhere", "0" * 64)
    done = venv.make()
    assert done.returncode == 1 and "can PyPI be reached" in done.stderr
    assert "build/venv.log" in done.stderr


# ---------------------------------------------------------------- tools/setup/make_reference.sh


class Reference(Venv):
    """The same for the other engine. Of its two lists, the first names what it is built with."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        (self.root / "tests/reference").mkdir()

    def want(self, **digests):
        for name, digest in digests.items():
            file = "build.txt" if name == "builder" else "requirements.txt"
            (self.root / "tests/reference" / file).write_text(f"{name}==1.0 --hash=sha256:{digest}\n")

    def make(self, **environment):
        environment = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1",
                       "PIP_FIND_LINKS": str(self.wheels), **environment}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        return run(self.root / "tools/setup/make_reference.sh", env={**clean, **environment})


@pytest.fixture
def other_engine(tmp_path):
    return Reference(tmp_path)


def test_reference_is_made_once_with_what_is_pinned(other_engine):
    names = ("builder", "llama_cpp")
    digests = {name: sha256(make_wheel(other_engine.wheels, name).read_bytes()) for name in names}
    other_engine.want(**digests)
    done = other_engine.make()
    assert done.returncode == 0 and "is ready" in done.stdout, done.stderr
    shutil.rmtree(other_engine.wheels)
    done = other_engine.make()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_reference_without_network_or_compiler_says_so(other_engine, tmp_path):
    other_engine.want(builder="0" * 64, llama_cpp="0" * 64)
    done = other_engine.make()
    assert done.returncode == 1 and "can PyPI be reached" in done.stderr
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "cmp", "mkdir", "flock", "rm", "tail", "sed"):
        (tools / name).symlink_to(shutil.which(name))
    done = other_engine.make(PATH=str(tools))
    assert done.returncode == 1 and "no clang++-19" in done.stderr


def test_real_tree_is_set_up_quiet_and_quick():
    """`make test` has just run the set-up. Running it again must take almost no time."""
    begin = time.monotonic()
    done = run(ROOT / "tools/setup/setup.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begin < 3, "0.3 s on an idle machine"
