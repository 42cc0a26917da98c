"""The times at which tokens came, and what they tell: the speed in the end, when it was reached, and what was
lost until then."""
from dataclasses import dataclass

from .common import median

SETTLED = 0.9  # of the final speed
# The shortest stretch of tokens that has a speed: so many that take so long, or any that take long.
WINDOW_TOKENS = 4
WINDOW_S = 0.05
LONG_S = 1.0


@dataclass(frozen=True)
class Point:
    """A token that came: when, and the seconds of decoding until then (prompts not counted)."""

    when: float
    spent: float


def timeline(texts):
    """A point for every token after the first of each text, which belongs to its prompt."""
    points, spent = [], 0.0
    for text in texts:
        for before, now in zip(text.times, text.times[1:]):
            spent += now - before
            points.append(Point(now, spent))
    return points


def windows(points):
    """[(first, last)]: stretches of points, one after the other, long enough to have a speed. Fast tokens
    come several in one piece, so a stretch has a time, too."""
    result, first = [], 0
    for last in range(1, len(points)):
        length = points[last].spent - points[first].spent
        if length >= (WINDOW_S if last - first >= WINDOW_TOKENS else LONG_S):
            result.append((first, last))
            first = last
    if not result and len(points) > 1 and points[-1].spent > points[0].spent:
        # So few that every token stands for itself.
        result = [(i, i + 1) for i in range(len(points) - 1) if points[i + 1].spent > points[i].spent]
    return result


def speeds(points):
    """[(index of the first token, tokens/s)] of the stretches."""
    return [(first, (last - first) / (points[last].spent - points[first].spent)) for first, last in windows(points)]


def final_speed(points):
    """The median of the last third of the stretches."""
    every = speeds(points)
    return median([speed for _, speed in every[len(every) * 2 // 3:]])


def settled_at(points, start, final):
    """(seconds, tokens) from the first request until a stretch has 90 % of the final speed, and the next
    one, too; None where there is too little to say."""
    every = speeds(points)
    for (index, speed), (_, following) in zip(every, every[1:]):
        if final and min(speed, following) >= SETTLED * final:
            return points[index].when - start, index
    return None, None


def lost_seconds(points, final):
    """Time beyond what the same tokens would have taken at the final speed: slow code before tuning, and
    tuning itself."""
    return points[-1].spent - len(points) / final if points and final else None
