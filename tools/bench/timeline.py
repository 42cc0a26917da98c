"""Computes from the times of tokens: the final speed, when it was reached, and the time lost."""
from dataclasses import dataclass

from .common import median

SETTLED = 0.9  # of the final speed
# A window is the shortest row of tokens that has a speed: WINDOW_TOKENS tokens that take WINDOW_S,
# or fewer that take LONG_S.
WINDOW_TOKENS = 4
WINDOW_S = 0.05
LONG_S = 1.0


@dataclass(frozen=True)
class Point:
    """A token that came: when, and the seconds of decoding until then, without prompts."""

    when: float
    spent: float


def timeline(texts):
    """A point for every token of each text but the first, which belongs to the prompt."""
    points, spent = [], 0.0
    for text in texts:
        for before, now in zip(text.times, text.times[1:]):
            spent += now - before
            points.append(Point(now, spent))
    return points


def windows(points):
    """[(first, last)]: windows of points, one after the other.

    Several fast tokens come in one piece, so a window has a least time and not only a number.
    """
    result, first = [], 0
    for last in range(1, len(points)):
        length = points[last].spent - points[first].spent
        if length >= (WINDOW_S if last - first >= WINDOW_TOKENS else LONG_S):
            result.append((first, last))
            first = last
    if not result and len(points) > 1 and points[-1].spent > points[0].spent:
        # Not enough for one window: every token is one.
        result = [(i, i + 1) for i in range(len(points) - 1) if points[i + 1].spent > points[i].spent]
    return result


def speeds(points):
    """[(index of the first token, tokens/s)] of the windows."""
    return [(first, (last - first) / (points[last].spent - points[first].spent)) for first, last in windows(points)]


def final_speed(points):
    """The median speed of the last third of the windows."""
    every = speeds(points)
    return median([speed for _, speed in every[len(every) * 2 // 3:]])


def settled_at(points, start, final):
    """(seconds, tokens) until two windows, one after the other, have 90 % of the final speed.

    The seconds count from `start`, the first request. (None, None) if that never happens.
    """
    every = speeds(points)
    for (index, speed), (_, following) in zip(every, every[1:]):
        if final and min(speed, following) >= SETTLED * final:
            return points[index].when - start, index
    return None, None


def lost_seconds(points, final):
    """Time beyond what the same tokens take at the final speed.

    It was lost to slow code before tuning, and to tuning itself.
    """
    return points[-1].spent - len(points) / final if points and final else None
