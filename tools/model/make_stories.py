#!/usr/bin/env python3
"""Writes the training text of BareFlow's default model: short stories from a grammar of our own.

Every story has a small state (a hero, a friend, a thing, a place) that is chosen once. So names,
pronouns, things and places stay the same from the first sentence to the last. story_words.py has
the words, plots_*.py the plots, story.py what the plots share. Standard library only. The same seed
writes the same bytes.

    make_stories.py --count 150000 --seed 1 --out build/model/stories.txt

A story is a line. No story occurs twice, so training never sees a held-out story.
"""

import argparse
import random
import sys
from pathlib import Path

import plots_deeds
import plots_things
from story import Story, choose_hero

PLOTS = [
    plots_things.lost,
    plots_things.lost,
    plots_deeds.skill,
    plots_things.give_back,
    plots_things.share,
    plots_deeds.fear,
    plots_things.rescue,
    plots_deeds.seed,
    plots_things.quarrel,
    plots_deeds.race,
    plots_deeds.build,
    plots_deeds.new_friend,
    plots_deeds.noise,
    plots_things.too_much,
    plots_deeds.star,
    plots_things.gift,
    plots_things.treasure,
    plots_deeds.storm,
    plots_things.cook,
]


def make_story(rng):
    story = Story(rng)
    choose_hero(story)
    story.pick(PLOTS)(story)
    return story.text()


def stories(count, seed):
    """Yields `count` different stories: the same ones for the same seed."""
    rng = random.Random(seed)
    seen = set()
    while len(seen) < count:
        text = make_story(rng)
        if text not in seen:
            seen.add(text)
            yield text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=150000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    args = parser.parse_args()
    out = sys.stdout
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        out = args.out.open("w", encoding="utf-8", newline="\n")
    for text in stories(args.count, args.seed):
        out.write(text + "\n")
    if args.out:
        out.close()


if __name__ == "__main__":
    main()
