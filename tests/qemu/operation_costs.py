"""Which operation costs more than it did, from two readings of /profile: (calls, cycles, what is in force) by name."""


def cycles_a_call(begin, end):
    """{name: (cycles of a call between two readings, share of all cycles, what is in force)}."""
    spent = {name: (end[name][0] - begin.get(name, (0, 0))[0], end[name][1] - begin.get(name, (0, 0))[1]) for name in end}
    total = sum(cycles for _, cycles in spent.values())
    return {name: (cycles / calls, cycles / total, end[name][2]) for name, (calls, cycles) in spent.items() if calls}


def slower_operations(before, after, tolerance):
    """Names of operations whose code was exchanged for some that costs more cycles a call, of those that matter.
    What was fused does the work of two, and is judged by the texts' speed alone."""
    def exchanged(name, variant):
        return name in after and after[name][2] != variant and "fused" not in after[name][2]
    return [name for name, (cycles, share, variant) in before.items()
            if share > 0.02 and exchanged(name, variant) and after[name][0] > tolerance * cycles]
