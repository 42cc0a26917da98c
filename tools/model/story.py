"""The state of one small story, who and what is in it, and how a story begins and ends.

A sentence is a template. `[a|b]` is a random choice, `{key}` is replaced by a value of the state,
and `{^key}` is the same with a capital letter. Everything random comes from the generator that a
Story is given, so the same seed makes the same stories.
"""

import re

from story_words import (
    ANIMALS,
    BOY_ENDS,
    BOY_NAMES,
    CHILD_KINDS,
    CLOSE_HAPPY,
    COLOURS,
    FIRST_TIME,
    FRIEND_ADJ,
    GIRL_ENDS,
    GIRL_NAMES,
    HERO_ADJ,
    HOMES,
    LATER_TIME,
    NAME_STARTS,
    OTHERS,
    PEOPLE_F,
    PEOPLE_M,
    PLACES,
    SHORT_FORMS,
    TOYS,
)

VOWEL_A = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\^?)(\w+)\}")


class Story:
    """The state of one story and the means to write sentences from it."""

    def __init__(self, rng):
        self.rng = rng
        self.ctx = {}
        self.lines = []

    def pick(self, items):
        return items[self.rng.randrange(len(items))]

    def picks(self, items, count):
        return self.rng.sample(list(items), count)

    def chance(self, p):
        return self.rng.random() < p

    def set(self, **values):
        self.ctx.update(values)

    def expand(self, text):
        text = text.replace("{when}", self.ctx.get("when", ""))
        while True:
            match = CHOICE.search(text)
            if not match:
                break
            text = (
                text[: match.start()] + self.pick(match.group(1).split("|")) + text[match.end() :]
            )
        text = SLOT.sub(self._fill, text)
        return VOWEL_A.sub(r"\1n ", text)

    def shorten(self, text):
        """Replaces long forms by short ones. text() does so in 40 % of the stories."""
        for long, short in SHORT_FORMS:
            text = text.replace(long, short)
        return text

    def _fill(self, match):
        value = SLOT.sub(self._fill, self.ctx[match.group(2)])
        return value[0].upper() + value[1:] if match.group(1) else value

    def say(self, *templates):
        """Adds one of the templates: a sentence, or a few that belong together."""
        self.lines.append(self.pick(templates))

    def maybe(self, p, *templates):
        if self.chance(p):
            self.say(*templates)

    def text(self):
        text = re.sub(r" +", " ", " ".join(self.expand(line) for line in self.lines)).strip()
        return self.shorten(text) if self.chance(0.4) else text


def pronouns(story, sex, prefix=""):
    he, him, his = ("he", "him", "his") if sex == "m" else ("she", "her", "her")
    story.set(**{prefix + "he": he, prefix + "him": him, prefix + "his": his})


def make_name(story, sex):
    if story.chance(0.12):
        name = story.pick(NAME_STARTS) + story.pick(BOY_ENDS if sex == "m" else GIRL_ENDS)
    else:
        name = story.pick(BOY_NAMES if sex == "m" else GIRL_NAMES)
    return name


def choose_hero(story):
    sex = story.pick("mf")
    roll = story.rng.random()
    if roll < 0.40:
        kind = "boy" if sex == "m" else "girl"
    elif roll < 0.82:
        kind = story.pick(ANIMALS)
    elif roll < 0.94:
        kind = story.pick(PEOPLE_M if sex == "m" else PEOPLE_F)
    else:
        kind = story.pick(OTHERS)
    adj = story.pick(HERO_ADJ)
    pronouns(story, sex)
    story.set(kind=kind, adj=adj, sex=sex)
    named = story.chance(0.78)
    if named:
        name = make_name(story, sex)
        story.set(H=name, named="y")
    else:
        story.set(H="the {kind}", named="")
    story.set(home=story.pick(HOMES))


def choose_friend(story, family=True):
    """The friend: a relative, a named friend, or a stranger who is met on the way."""
    hero_sex = story.ctx["sex"]
    sex = hero_sex if story.chance(0.25) else ("f" if hero_sex == "m" else "m")
    pronouns(story, sex, "f")
    roll = story.rng.random()
    kind = story.pick([k for k in ANIMALS if k != story.ctx["kind"]])
    if family and story.ctx["kind"] in CHILD_KINDS and roll < 0.4:
        who = story.pick(
            ["father", "grandfather", "brother", "uncle"]
            if sex == "m"
            else ["mother", "grandmother", "sister", "aunt"]
        )
        story.set(F="{his} " + who, Fa="{his} " + who, Fcall=who)
    elif roll < 0.75:
        name = make_name(story, sex)
        while name == story.ctx["H"]:
            name = make_name(story, sex)
        if story.ctx["kind"] in CHILD_KINDS and story.chance(0.4):
            story.set(F=name, Fa="{his} friend " + name)
        else:
            story.set(F=name, Fa="{his} friend " + name + " the " + kind)
    else:
        adj = story.pick(FRIEND_ADJ)
        story.set(F="the " + kind, Fa="a " + adj + " " + kind)


def choose_stranger(story, kinds, adj=None):
    """Somebody of a kind the plot needs; always met for the first time."""
    sex = story.pick("mf")
    kind = story.pick([k for k in kinds if k != story.ctx["kind"]])
    pronouns(story, sex, "f")
    story.set(F="the " + kind, Fa="a " + (adj or story.pick(FRIEND_ADJ)) + " " + kind, fkind=kind)


def choose_thing(story):
    story.set(colour=story.pick(COLOURS), obj=story.pick(TOYS))


def choose_place(story, allowed=None):
    noun, at, to = story.pick([p for p in PLACES if allowed is None or p[0] in allowed])
    story.set(place="the " + noun, at=at, to=to)


def opening(story):
    """Introduces the hero; leaves the story ready for what happened one day."""
    if story.ctx["named"]:
        story.say(
            "Once upon a time, there was a {adj} {kind} named {H}.",
            "Once upon a time, there was a {adj} {kind} named {H}.",
            "Once upon a time, there was a {adj} {kind} called {H}.",
            "Once upon a time there was a {adj} {kind} named {H}.",
            "Once upon a time there lived a {adj} {kind} named {H}.",
            "Once upon a time, a {adj} {kind} named {H} lived in {home}.",
            "Once upon a time, in {home}, there lived a {adj} {kind} named {H}.",
            "Once upon a time, {H} the {kind} lived in {home}.",
            "There once was a {adj} {kind} named {H}.",
            "Long ago, in {home}, there lived a {adj} {kind} named {H}.",
            "Long, long ago there was a {adj} {kind} called {H}.",
            "{H} was a {adj} {kind} who lived in {home}.",
            "{H} was a {adj} {kind}.",
            "In {home} lived a {adj} {kind} named {H}.",
            "This is the story of {H}, a {adj} {kind}.",
            "A {adj} {kind} named {H} lived in {home}.",
            "There was a {adj} {kind} named {H}.",
        )
    else:
        story.say(
            "Once upon a time, there was a {adj} {kind}.",
            "Once upon a time, there was a {adj} {kind} who lived in {home}.",
            "Once upon a time there was a {adj} {kind}.",
            "Once upon a time, a {adj} {kind} lived in {home}.",
            "The {adj} {kind} lived in {home}.",
            (
                "The {adj} {kind} [liked|loved] to [sing|dance|play outside|look at the stars|tell"
                " stories]."
            ),
            "The {adj} {kind} was [very happy|always happy|never bored|always busy].",
            "There once was a {adj} {kind} who lived in {home}.",
            "Long ago, a {adj} {kind} lived in {home}.",
        )
    if " in {home}" not in story.lines[-1] and "In {home}" not in story.lines[-1]:
        story.maybe(
            0.4,
            "{^he} lived in {home}.",
            "{^he} lived in {home} with {his} [family|mother|father].",
        )
    story.maybe(
        0.45,
        (
            "{^he} [loved|liked] to [sing|dance|read|paint|run|play outside|look at the stars|tell"
            " stories]."
        ),
        (
            "{^he} had [a kind heart|many friends|bright eyes|a warm smile|a big smile] and [loved"
            " to laugh|was never afraid to ask questions|always said good morning to everyone]."
        ),
        (
            "Everyone [liked|loved|knew] {him} because {he} was [always kind|so friendly|full of"
            " ideas|so funny]."
        ),
    )


def quick_opening(story):
    """Begins in the middle of things: the hero and the day come in one sentence."""
    who = "{H} the {kind}" if story.ctx["named"] else "the {adj} {kind}"
    long_who = "a {adj} {kind} named {H}" if story.ctx["named"] else "a {adj} {kind}"
    story.set(who=who, longwho=long_who)
    story.say(
        FIRST_TIME
        + ", {longwho} [woke up early|got up with the sun|looked out of the window|sat in front of "
        "{his} house].",
        FIRST_TIME
        + ", {who} [woke up early|got up with the sun|looked out of the window|had nothing to do].",
        (
            "It was a [sunny|bright|warm|quiet|beautiful] [morning|day|afternoon], and {longwho}"
            " was in a good mood."
        ),
        (
            "{^who} [woke up early one morning|was bored one afternoon|could not wait for the day"
            " to begin]."
        ),
        (
            "Early in the morning, {longwho} opened the window and [smiled|listened to the"
            " birds|looked at the sky]."
        ),
        (
            "Every morning, {who} opened the window and [smiled|listened to the birds|looked at the"
            " sky]."
        ),
    )


def begin(story):
    if story.chance(0.8):
        story.set(when=FIRST_TIME)
        opening(story)
    else:
        story.set(when=LATER_TIME)
        quick_opening(story)


def close(story, *own):
    if own and story.chance(0.6):
        story.say(*own)
        story.maybe(0.35, *CLOSE_HAPPY)
    else:
        story.say(*CLOSE_HAPPY)
    story.maybe(0.06, "The end.")


def thanks(story):
    story.say(
        '"Thank you, my friend," said {H}.',
        '"Thank you so much!" said {H}.',
        '"Thank you for your help," said {H}.',
        "{^H} thanked {F} [again and again|with all {his} heart|with a big hug].",
        '"You are a true friend," said {H}.',
        '"Thank you!" said {H}. "You are so kind."',
    )
