"""Finds the operations that cost more than before, from readings of /profile. A reading is {name: (calls,
cycles, variant in force)}."""


def cycles_a_call(begin, end):
    """{name: (cycles per call between two readings, share of all cycles, variant in force)}."""
    spent = {name: (end[name][0] - begin.get(name, (0, 0))[0], end[name][1] - begin.get(name, (0, 0))[1]) for name in end}
    total = sum(cycles for _, cycles in spent.values())
    return {name: (cycles / calls, cycles / total, end[name][2]) for name, (calls, cycles) in spent.items() if calls}


def slower_operations(before, after, tolerance):
    """Names of the operations that matter and whose new code costs more cycles per call than the old. A fused
    operation does the work of two; only the speed of texts can judge it."""
    def exchanged(name, variant):
        return name in after and after[name][2] != variant and "fused" not in after[name][2]
    return [name for name, (cycles, share, variant) in before.items()
            if share > 0.02 and exchanged(name, variant) and after[name][0] > tolerance * cycles]
