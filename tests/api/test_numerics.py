"""numerics=fast says so everywhere, and what it tuned is never taken for exact."""
import re

from api_client import MODEL, Api, start_hosted


def run(*more):
    process, url = start_hosted(["--model", MODEL, "jit.warm=1", "jit.hot=2", "jit.very_hot=4", *more])
    api = Api(url)
    api.wait_until_ready()
    return process, api


def names(found):
    return {row["variant"] for row in found["candidates"]}


def relaxed(variants):
    return {name for name in variants if " fast" in name}


def stop(process):
    process.terminate()
    assert process.wait(10) == 0


def test_fast_says_so_and_is_not_remembered_for_exact(tmp_path):
    path = tmp_path / "state.img"
    process, api = run("--state", path, "numerics=fast")
    found = api.settle(lambda f: f["jit"]["saves"] > 0)
    assert found["jit"]["numerics"] == "fast" and found["jit"]["relaxed"] is True
    assert found["jit"]["tolerance"] == "1/4096 of the greatest result"
    tried = relaxed(names(found))
    assert tried, "no relaxed candidate"
    assert not [row for row in found["candidates"] if row["verdict"] in ("differed", "faulted", "overran")]
    text = api.get("/profile").body.decode()
    assert re.search(r"^bareflow_jit_relaxed 1$", text, re.M)
    html = api.get("/profile", Accept="text/html").body.decode()
    assert "fast" in html and "1/4096 of the greatest result" in html
    stop(process)

    process, api = run("--state", path)
    assert api.profile()["jit"]["recalled"] + api.profile()["jit"]["recalls_lost"] == 0
    found = api.settle(lambda f: f["jit"]["saves"] > 0)
    assert found["jit"]["numerics"] == "exact" and found["jit"]["relaxed"] is False
    assert found["jit"]["tolerance"] == "0"
    assert found["jit"]["recalled"] + found["jit"]["recalls_lost"] == 0
    assert not relaxed(names(found))
    assert not relaxed({f["variant"] for f in found["functions"]})
    assert re.search(r"^bareflow_jit_relaxed 0$", api.get("/profile").body.decode(), re.M)
    stop(process)

    # Choices kept with exact numerics are not used with fast ones either.
    process, api = run("--state", path, "numerics=fast")
    assert api.profile()["jit"]["recalled"] + api.profile()["jit"]["recalls_lost"] == 0
    stop(process)
