"""Tests the check that `make soak-speed` makes, because that run takes hours."""
from operation_costs import cycles_a_call, slower_operations


def test_an_operation_that_became_slower_is_named():
    """The check, on invented readings."""
    begin, end = {"a": (10, 1000, "x"), "b": (0, 0, "x")}, {"a": (20, 2000, "x"), "b": (10, 1000, "x"), "c": (1, 1, "")}
    before = cycles_a_call(begin, end)
    assert before["a"][0] == 100 and before["b"][0] == 100 and before["c"][1] < 0.02
    after = {"a": (109, 0.5, "y"), "b": (111, 0.5, "y"), "c": (9e9, 0, "")}
    assert slower_operations(before, after, 1.1) == ["b"]
    assert slower_operations(before, after | {"b": (300, 0.5, "x")}, 1.1) == [], "the same code: the host's doing"
    assert slower_operations(before, after | {"b": (300, 0.5, "sse2 fused")}, 1.1) == []
