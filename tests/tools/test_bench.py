"""The arithmetic of the benchmarks on invented times, and one short measurement. No figure is judged."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools/gguf")]
from bench import (client, files, jit, main, native, overhead, prompts, second_boot, speed, tables, tiers,  # noqa: E402
                   timeline)
from bench.common import DEFAULT_MODEL  # noqa: E402

import gguf_format  # noqa: E402


def text(times, asked=0.0, **usage):
    return client.Text(asked=asked, times=list(times), usage=usage)


def test_the_first_token_belongs_to_the_prompt():
    one = text([2.0, 2.5, 3.0], prompt_tokens=10, completion_tokens=3)
    assert one.decode_rate == 2.0 and one.first_token_s == 2.0 and one.prompt_rate == 5.0
    one.figures = {"prompt_ms": 1000.0}
    assert one.prompt_rate == 10.0
    one.figures["cached_tokens"] = 1
    assert one.prompt_rate == 9.0
    assert text([2.0]).decode_rate is None


def test_clients_are_counted_while_all_of_them_generate():
    early, late = text([n * 0.1 for n in range(101)]), text([2 + n * 0.1 for n in range(101)])
    rate, joined = client.aggregate([early, late])
    assert joined and rate == pytest.approx(20, rel=0.02)
    # Requests one after the other: all tokens divided by the whole time.
    rate, joined = client.aggregate([text([1, 2, 3, 4]), text([5, 6, 7, 8])])
    assert not joined and rate == pytest.approx(1.0)


def event(**choice):
    return b"data: " + json.dumps({"choices": [choice], "usage": {"completion_tokens": 4}}).encode() + b"\n\n"


def chunk(*events):
    data = b"".join(events)
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_cheap_client_reads_an_answer_afterwards():
    """Three events in two chunks that arrive in three pieces, cut in the middle."""
    word, last = event(text="a", finish_reason=None), event(text="", finish_reason="length")
    whole = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(word)
             + chunk(word, word) + chunk(last, b"data: [DONE]\n\n") + b"0\r\n\r\n")
    cut = whole.index(b"HTTP") + 60, len(whole) - 300
    pieces = [(1.0, whole[:cut[0]]), (2.0, whole[cut[0]:cut[1]]), (3.0, whole[cut[1]:]), (4.0, b"")]
    read = client.Text()
    client.read_answer(read, pieces)
    assert len(read.times) == 3 and set(read.times) <= {2.0, 3.0} and read.tokens == 4
    with pytest.raises(client.BenchError, match="refused"):
        client.read_answer(client.Text(), [(1.0, b"HTTP/1.1 503 No\r\n\r\n{}")])
    with pytest.raises(client.BenchError, match="broke off"):
        client.read_answer(client.Text(), [(1.0, whole[:-len(chunk(last, b"data: [DONE]\n\n")) - 5])])


def test_a_prompt_continues_another():
    for beginning, whole in prompts.extended(DEFAULT_MODEL, 2, 20, 8):
        short, long = prompts.encode(DEFAULT_MODEL, [beginning, whole])
        assert len(short) == 20 and len(long) == 28 and long[:20] == short


def test_a_timeline_tells_when_the_speed_was_reached_and_what_it_cost():
    """Twenty tokens that take a second each, then sixty that take a tenth of one."""
    one = text([n * 1.0 for n in range(21)] + [20 + n * 0.1 for n in range(1, 61)])
    points = timeline.timeline([one])
    assert len(points) == 80 and timeline.final_speed(points) == pytest.approx(10)
    seconds, tokens = timeline.settled_at(points, -1.0, 10)
    assert 19 <= tokens <= 23 and 20 <= seconds <= 22
    assert timeline.lost_seconds(points, 10) == pytest.approx(20 * 0.9, rel=0.01)
    # A token that takes seconds is a point of its own.
    slow = timeline.timeline([text([0, 4, 8, 10, 12, 14])])
    assert timeline.settled_at(slow, -2.0, 0.5) == (10.0, 1)
    steady = timeline.timeline([text([n * 0.1 for n in range(60)], asked=0.0)])
    assert timeline.settled_at(steady, 0.0, 10)[1] == 0
    assert timeline.lost_seconds(steady, 10) == pytest.approx(0, abs=1e-6)
    assert timeline.settled_at(steady, 0.0, 20) == (None, None), "never so fast"
    assert timeline.settled_at([], 0.0, None) == (None, None) and timeline.final_speed([]) is None
    assert timeline.lost_seconds([], 10) is None


def test_fast_tokens_that_come_in_pieces_have_a_speed():
    """Twenty-five tokens at once, every ten milliseconds."""
    pieces = text([0.01 * (n // 25) + 1e-6 * (n % 25) for n in range(2500)])
    assert timeline.final_speed(timeline.timeline([pieces, pieces])) == pytest.approx(2500, rel=0.1)
    pieces.figures = {"decode_ms": 1000.0}
    assert pieces.decode_rate == pytest.approx(2499)


def at(rate, tokens=11):
    return text([n / rate for n in range(tokens)])


def test_a_speed_stands_when_three_texts_agree():
    assert tiers.speed_of([at(10), at(20), at(11)]) == pytest.approx(11)
    # Slow texts count by their length: 10 tokens in 10 s and 10 in 5 s.
    assert tiers.speed_of([at(1), at(2)]) == pytest.approx(20 / 15)
    assert tiers.speed_of([text([1.0])]) is None
    assert tiers.stands([at(10)] * 5) and not tiers.stands([at(10)] * 4), "too few"
    assert not tiers.stands([at(10)] * 4 + [at(11)]) and not tiers.stands([at(1e6)] * 9), "apart; over in no time"


def test_what_is_the_same_by_construction_is_measured_once():
    hosted, guest = tiers.Place("hosted", 2), tiers.Place("tcg", 1)
    assert [tiers.same_as(place, mode) for place in (hosted, guest) for mode in tiers.MODES] == [None] * 8
    narrow = tiers.Place("hosted", 2, isa="sse2")
    assert tiers.same_as(narrow, "off") == (hosted, "off") and tiers.same_as(narrow, "baseline") is None
    old = tiers.Place("tcg", 1, "qemu64")
    assert [tiers.same_as(old, mode) for mode in ("off", "baseline", "full")] == [(guest, "off"), (guest, "compiled"), None]


def test_weights_of_a_token_leave_out_an_embedding_that_is_only_looked_up(tmp_path):
    """288 x 768, 6 layers. A matrix of 32,000 x 288 is twice in the file and read once. Q8_0 has 34 bytes for
    32 weights."""
    path = tmp_path / "m.gguf"
    model = files.SYNTHETIC["15m-Q8_0"]
    files.make_synthetic(path, model.arguments(), model.expected_bytes())
    names = {tensor.name: tensor for tensor in gguf_format.Reader(path).tensors}
    matrices = sum(t.bytes for t in names.values() if len(t.dims) > 1)
    without = names["token_embd.weight"].bytes if "output.weight" in names else 0
    assert tiers.weight_bytes(path) == matrices - without
    layers = 6 * (4 * 288 * 288 + 3 * 288 * 768)
    assert tiers.weight_bytes(path) == (layers + 32000 * 288) // 32 * 34


def test_the_interval_of_a_median_holds_it():
    low, high = overhead.interval_of_median(list(range(100)))
    assert 38 <= low <= 41 and 58 <= high <= 61
    assert overhead.interval_of_median([3.0]) == (3.0, 3.0)


def test_what_kernel_bench_prints_is_read():
    printed = ("read bandwidth, 1 thread: 25.0 GB/s\n"
               "type    variant            batch threads    GMAC/s     GB/s of bandwidth\n"
               "Q8_0    avx512 r4 u2 p2048     1       1     28.87    30.67   123 %\n"
               "Q8_0    native portable        1       1      7.33     7.79    31 %  (one by one)\n")
    assert native.kernels_of(printed) == {"avx512 r4 u2 p2048": 28.87, "native portable": 7.33}


def test_goals_stand_beside_what_was_measured_and_nothing_else():
    emulated = {"model": "15m-Q8_0", "where": "TCG max, -smp 1", "full": 20.0, "over_rule": 17.4, "over_tier_0": 2.9}
    native_row = {"model": "tinyllama-Q8_0", "where": "hosted, 1 thr.", "over_llama_cpp": 1.1, "read_percent": 95.0}
    rows = jit.goals({"tiers-tcg": {"rows": [emulated, {"model": "smollm2", "where": "x", "skipped": "no time"}]},
                      "tiers-hosted": {"rows": [native_row, native_row | {"read_percent": 80.0}]},
                      "native": {"rows": [{"model": "m", "function": "f", "ratio": 1.2}, {"model": "m", "function": "g", "ratio": 0.9}]},
                      "profiling": {"rows": [{"model": "m", "where": "w", "cost_percent": 1.3}]}})
    assert [(row["measured"], row["wanted"], row["met"]) for row in rows] == [
        (17.4, 5.0, True), (2.9, 3.0, False), (20.0, 25, False), (1.1, 1.2, True), (1.1, 1.2, False), (0.9, 1.0, False),
        (1.3, 1.0, False)]
    assert jit.goals({}) == [] and "17.40" in jit.show_goals(rows)


def test_the_parts_of_both_benches():
    usual, tuned = main.parse_arguments([]), main.parse_arguments(["--jit"])
    assert set(usual.parts) | set(tuned.parts) == set(main.PARTS) and not set(usual.parts) & set(tuned.parts)
    assert usual.output.name == "bench.json" and tuned.output.name == "bench-jit.json"
    assert main.parse_arguments(["--jit", "native", "--quick"]).parts == ["native"]


def test_two_processors_are_set_against_one():
    rows = [{"model": "m", "jit": "full", "smp": 1, "decode": 4.0}, {"model": "m", "jit": "full", "smp": 2, "decode": 7.0},
            {"model": "other", "jit": "full", "smp": 2, "decode": 7.0}]
    speed.add_scaling(rows, "smp")
    assert [row.get("scaling") for row in rows] == [None, 1.75, None]


def test_tables_leave_out_what_nobody_fills():
    shown = tables.table([{"a": "x", "b": 1.234}, {"a": "long", "b": 123.4}], [("a", "name"), ("b", "n"), ("c", "none")])
    assert shown.splitlines() == ["  name     n", "  ----  ----", "  x     1.23", "  long   123"]
    assert tables.table([], [("a", "a")]) == ""


def test_prompts_have_exactly_the_tokens_asked_for():
    made = prompts.make(DEFAULT_MODEL, 5, 64)
    assert [len(ids) for _, ids in made] == [64] * 5
    assert prompts.encode(DEFAULT_MODEL, [words for words, _ in made]) == [ids for _, ids in made]
    assert len({tuple(ids[:4]) for _, ids in made}) == 5
    assert made == prompts.make(DEFAULT_MODEL, 5, 64)


def test_synthetic_files_are_as_large_as_expected(tmp_path):
    model = files.SYNTHETIC["15m-Q4_0"]
    files.make_synthetic(tmp_path / "m.gguf", model.arguments(), model.expected_bytes())
    size = (tmp_path / "m.gguf").stat().st_size
    assert model.expected_bytes() - (4 << 20) < size <= model.expected_bytes()
    assert files.enders(tmp_path / "m.gguf") == [2]
    assert gguf_format.Reader(tmp_path / "m.gguf").metadata["llama.block_count"] == 6
    with pytest.raises(files.BenchError, match="needs .* MiB, and only"):
        files.make_synthetic(tmp_path / "n.gguf", model.arguments(), 1 << 60)


def test_the_mixed_file_has_both_types_as_q4_k_m_has():
    mixed = dict(files.mixed_overrides(22))
    assert "output.weight" in mixed and len(mixed) == 1 + 2 * 10 and set(mixed.values()) == {"Q6_K"}


def test_one_measurement_from_end_to_end(tmp_path):
    output = tmp_path / "bench.json"
    row = speed.pair_up("stories", 2, speed.Plan(prompt=32, decode=8, repeats=1, warm_s=0.2), compare=False)
    assert row["decode"] > 0 and row["prompt"] > 0 and row["peak_rss_bytes"] > 1 << 20
    assert "--model models/stories.gguf" in row["command"] and str(ROOT) not in row["command"]
    assert "stories" in speed.show_hosted({"rows": [row]})
    rows = speed.clients_hosted("stories", 1, speed.Plan(prompt=8, decode=8, repeats=1, warm_s=0.2), False, (1, 2))
    assert [row["clients"] for row in rows] == [1, 2] and all(row["total"] > 0 for row in rows)
    assert main.main(["--output", str(output), "sizes"]) == 0
    report = json.loads(output.read_text())
    assert report["machine"]["qemu"].startswith("QEMU") and report["sizes"]["model_bytes"] > 0


def test_one_climb_a_second_boot_and_a_price(monkeypatch):
    plan, place, known = tiers.Plan(16, 0.5, 0.3), tiers.Place("hosted", 1), {}
    row = tiers.tiers("stories", place, plan, known)
    assert row["full"] > 0 and row["baseline"] > 0 and row["off"] > 0 and row["rested"] and row["read_percent"] > 0
    assert row["tried"] > 0 and row["modes"]["full"]["verdicts"]["won"] > 0
    again = tiers.tiers("stories", tiers.Place("hosted", 1, isa="sse2"), plan, known)
    assert again["off"] == row["off"] and again["same"] == "tier 0" and again["full"] > 0
    shown = jit.show_tiers({"rows": [row, again, speed.skipped("smollm2", "no time")], "notes": ["a note"]})
    assert "hosted, 1 thr., sse2" in shown and "no time" in shown and "a note" in shown
    variants, rested = native.installed("stories", [row])
    assert rested and variants["q8_0_gemv 288x128"] and all("_gemv " in name for name in variants)
    monkeypatch.setattr(second_boot, "BOOTS", 1)
    boot = second_boot.second_boot("stories", place, plan)
    assert boot["saves"] > 0 and boot["recalled"] > 0 and boot["warm"] > 0 and boot["warm_ratio"] > 0
    monkeypatch.setattr(overhead, "SIDE_S", 0.02)
    price = overhead.profiling("stories", place, 2, 2)
    assert price["pairs"] == 4 and len(price["samples"]) == 4 and ".." in price["interval"]


def test_a_part_nobody_knows_is_refused():
    done = subprocess.run([sys.executable, str(ROOT / "tools/bench.py"), "sizes", "speeed"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2 and "no such part: speeed" in done.stderr


def test_setup_says_when_llama_cpp_cannot_be_had(tmp_path):
    """Offline, in a copy of the tree: one clear message, and no incomplete environment that counts as complete."""
    (tmp_path / "tools/setup").mkdir(parents=True)
    shutil.copytree(ROOT / "tests/reference", tmp_path / "tests/reference")
    for script in ("venv.sh", "make_reference.sh"):
        shutil.copy(ROOT / "tools/setup" / script, tmp_path / "tools/setup")
    command = ["bash", str(tmp_path / "tools/setup/make_reference.sh")]
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not get the packages of tests/reference/build.txt" in done.stderr
    assert "build/reference-venv.log" in done.stderr
    assert not (tmp_path / "build/reference-venv/made-from.txt").exists()
    assert subprocess.run([*command, "nonsense"], capture_output=True, check=False).returncode == 2
