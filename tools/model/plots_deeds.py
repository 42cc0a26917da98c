"""Plots about deeds: learning, daring, helping, building, meeting.

A plot takes a Story with a hero, chooses what else it needs, and says its sentences in order.
"""

import re

from story import (
    begin,
    choose_friend,
    choose_place,
    choose_stranger,
    close,
    make_name,
    pronouns,
    thanks,
)
from story_words import (
    ANIMALS,
    FOODS,
    OPEN_TIME,
    SLOW,
)


def skill(story):
    verb, verbing, easy = story.pick(
        [
            ("swim", "swimming", "in the water"),
            ("dance", "dancing", "to the music"),
            ("sing", "singing", "in the choir"),
            ("skate", "skating", "on the ice"),
            ("paint", "painting", "on the paper"),
            ("climb", "climbing", "up the tall tree"),
            ("read", "reading", "in the big book"),
            ("whistle", "whistling", "like a bird"),
            ("juggle", "juggling", "with three balls"),
            ("ride", "riding", "on the bicycle"),
        ]
    )
    choose_friend(story)
    if story.chance(0.4):
        choose_stranger(
            story,
            ["owl", "bird", "turtle", "bear", "horse", "frog"],
            story.pick(["wise old", "kind", "old"]),
        )
    story.set(verb=verb, verbing=verbing, easy=easy)
    begin(story)
    story.say(
        "More than anything, {H} wanted to learn to {verb}.",
        "{^H} had one big wish. {^he} wanted to {verb}.",
        "But there was one thing {H} could not do. {^he} could not {verb}.",
        "{^H} wanted to {verb} like all the others, but {he} did not know how.",
    )
    story.say(
        OPEN_TIME
        + ", {he} tried to {verb} {easy}, but [it was too hard|it went all wrong|it did not work].",
        OPEN_TIME + ", {he} tried and tried, but {he} could not {verb} {easy}.",
    )
    story.maybe(
        0.7,
        "{^H} [sat down and sighed|felt very sad|wanted to give up|began to cry].",
        '"I will never learn to {verb}," said {H}.',
        '"It is too hard for me," said {H}.',
    )
    story.say(
        (
            '{^Fa} saw this and said, "[Do not give up|Everyone can learn to {verb}|I can teach you'
            ' to {verb}]."'
        ),
        (
            'Then {Fa} came and asked, "Do you want me to [help|teach|show] you?" "Yes, please,"'
            " said {H}."
        ),
        (
            '{^Fa} smiled and said, "[I could not {verb} either when I was small|Let us try it'
            ' together|You only need to practise]."'
        ),
    )
    story.say(
        "Every day, {H} and {F} [practised together|practised {verbing}].",
        (
            "So {H} practised {verbing} every morning, and {F} [helped {him}|watched {him}|was"
            " always there]."
        ),
        "{^F} showed {him} how to do it, step by step.",
    )
    story.say(
        "The first day was hard. The second day was a little better.",
        "At first, {he} made many mistakes, but {he} did not stop.",
        "Slowly, {he} got better and better.",
        "Day by day, it got a little easier.",
    )
    story.say(
        "After a week, {H} could {verb} {easy}!",
        "And then, one day, {H} could {verb} {easy} all alone!",
        "At last, {H} [could|was able to] {verb} {easy}.",
    )
    story.say(
        '"Look, I can {verb}!" {he} [cried|shouted|called].',
        '"I did it!" [cried|shouted] {H}.',
        '"I knew you could do it," said {F}.',
        '"I am so proud of you," said {F}.',
    )
    close(
        story,
        "{^H} learned that you should never give up.",
        "From that day on, {H} loved {verbing} more than anything.",
        "And later, {H} taught [many others|all {his} friends] to {verb} too.",
        "{^H} was very proud, and {F} was proud too.",
    )


def fear(story):
    thing, where, first = story.pick(
        [
            ("the dark", "in the dark", "When night came, {he} hid under the blanket."),
            ("thunder", "when it thundered", "When a storm came, {he} hid under the bed."),
            (
                "deep water",
                "near the water",
                "When the others went to swim, {he} stayed on the sand.",
            ),
            (
                "high places",
                "high up",
                "When the others climbed the tree, {he} stayed on the ground.",
            ),
            ("the big dog next door", "when the dog barked", "When the dog barked, {he} ran away."),
            (
                "the old forest",
                "in the old forest",
                "When the others went into the forest, {he} stayed at home.",
            ),
        ]
    )
    choose_friend(story)
    story.set(fear=thing, where=where)
    begin(story)
    story.say(
        "But {H} was afraid of {fear}.",
        "There was only one problem. {^H} was afraid of {fear}.",
        "{^he} was not afraid of anything, only of {fear}.",
    )
    story.lines.append(first)
    story.maybe(
        0.5,
        "The others laughed at {him}, and that made {him} sad.",
        "{^he} did not tell anyone about it.",
        "{^he} wished that {he} could be brave.",
    )
    story.say(
        (
            'One [day|evening], {Fa} asked, "Why are you hiding?" "I am afraid of {fear}," said {H}'
            " [quietly|softly]."
        ),
        'One [day|evening], {Fa} sat down next to {him}. "I am afraid of {fear}," said {H}.',
    )
    story.say(
        '"Everyone is afraid of something," said {F}.',
        '"That is all right," said {F}. "I was afraid of {fear} too."',
        '"You do not have to be afraid alone," said {F}.',
    )
    calm = story.pick(
        [
            ("count to ten", "counted to ten"),
            ("sing a song", "sang a song"),
            ("hold my hand", "held on tight"),
            ("take a deep breath", "took a deep breath"),
            ("think of something nice", "thought of something nice"),
        ]
    )
    story.set(tip=calm[0], tipped=calm[1])
    story.say(
        (
            '"When you are afraid, {tip}," said {F}. "[It helps|I will stay with you|Then you will'
            ' feel better]."'
        ),
        '{^F} said, "Let us try together. First, {tip}."',
    )
    story.say(
        "So {H} {tipped}. {^his} heart was beating fast, but {he} did not run away.",
        "{^H} {tipped} and waited. Slowly, {he} felt better.",
        "The next time, {H} {tipped}, and it was not so bad.",
    )
    if thing == "the dark":
        story.say(
            "Then {he} looked out and saw a thousand little stars. The dark was beautiful!",
            "{^he} opened {his} eyes and saw the moon smile down at {him}.",
        )
    elif thing == "thunder":
        story.say(
            "The thunder came again, but this time {H} only laughed.",
            "Soon the storm was over, and there was a rainbow in the sky.",
        )
    elif thing == "deep water":
        story.say(
            "{^he} put one foot into the water, and then the other. It was warm and nice!",
            "Soon {he} was splashing in the water and laughing.",
        )
    elif thing == "high places":
        story.say(
            "{^he} climbed up, step by step. From the top {he} could see the whole valley!",
            "Soon {he} sat on the first branch and looked down. It was not so high after all.",
        )
    elif thing == "the big dog next door":
        story.say(
            "Then the dog came near and licked {his} hand. It only wanted to play!",
            "{^he} gave the dog a bone, and the dog wagged its tail.",
        )
    else:
        story.say(
            "In the forest {he} saw red flowers and a family of deer. It was beautiful!",
            "The forest was full of birds, and they sang for {him}.",
        )
    story.say(
        '"I did it!" said {H}.',
        '"See how brave you are!" said {F}.',
        '"I am not afraid any more," said {H}.',
    )
    close(
        story,
        "Since that day, {H} is not afraid of {fear} any more.",
        "{^H} learned that being brave means trying even when you are afraid.",
        "And when somebody else was afraid, {H} told them what {F} had said.",
    )


def seed(story):
    plant, grown = story.pick(
        [
            ("flower", "a tall {colour} flower"),
            ("sunflower", "a sunflower as high as the house"),
            ("apple tree", "a young tree with {colour} leaves"),
            ("pumpkin", "the biggest pumpkin in the village"),
            ("rose", "a beautiful {colour} rose"),
            ("bean", "a bean plant that reached the roof"),
        ]
    )
    choose_friend(story)
    story.set(
        colour=story.pick(["red", "yellow", "white", "golden", "green", "pink"]),
        plant=plant,
        grown=grown,
    )
    begin(story)
    story.say(
        OPEN_TIME + ", {Fa} gave {H} a [tiny|small|little] seed.",
        OPEN_TIME + ", {H} found a [tiny|small|little] seed and showed it to {Fa}.",
    )
    story.say(
        '"What is it?" asked {H}. "[Put it in the ground|Plant it] and you will see," said {F}.',
        '"If you take care of it, it will grow," said {F}.',
        '"It looks so small," said {H}. "Big things start small," said {F}.',
    )
    story.say(
        "{^H} dug a hole in the garden and planted the seed.",
        "So {H} put the seed into the soft earth.",
        "{^H} planted the seed near the fence.",
    )
    story.say(
        "Every day, {he} gave it water. But nothing happened.",
        "{^he} watered it every morning and waited. Nothing grew.",
        "{^he} waited one day, two days, three days, but there was nothing to see.",
    )
    story.say(
        '"Maybe it is a bad seed," said {H}. "You must be patient," said {F}.',
        '"Why does it not grow?" asked {H}. "Good things take time," said {F}.',
        "{^H} wanted to give up, but {F} told {him} to wait.",
    )
    story.maybe(
        0.5,
        "The rain came, and then the sun came back.",
        "So {H} waited and sang to the seed every evening.",
        "The sun was warm, and the rain was soft.",
    )
    story.say(
        "Then, one morning, there was a little green leaf!",
        "One day, {H} saw something green in the ground!",
        "And one morning, a tiny green plant looked out of the earth.",
    )
    story.say(
        "It grew and grew until it was {grown}.",
        "Week after week it grew, and in the summer there was {grown}.",
        "Soon it was {grown}.",
    )
    story.say(
        '"Look what we have made!" said {H}.',
        "All the neighbours came to see it.",
        "{^H} was so proud that {he} showed it to everyone.",
        '"You were right," said {H} to {F}.',
    )
    close(
        story,
        "{^H} learned that good things take time.",
        "In the autumn, {H} kept a few seeds and gave one to {F}.",
        "And next year, {H} planted a whole garden.",
    )


def race(story):
    slow = story.pick(
        [k for k in ["turtle", "hedgehog", "duck", "mouse", "snail"] if k != story.ctx["kind"]]
    )
    choose_place(story, {"forest", "meadow", "lake", "hill", "field", "park"})
    sex = story.pick("mf")
    name = make_name(story, sex)
    while name == story.ctx["H"]:
        name = make_name(story, sex)
    pronouns(story, sex, "f")
    if story.ctx["kind"] in SLOW or story.ctx["kind"] == slow:
        story.set(kind=story.pick(["rabbit", "fox", "dog", "pony", "cat", "squirrel"]))
    story.set(F=name, Fa=name + " the " + slow, fkind=slow, prize=story.pick([f[1] for f in FOODS]))
    begin(story)
    story.say(
        "{^H} [was very fast|could run like the wind] and was proud of it.",
        "Nobody could run as fast as {H}.",
        '"I am the fastest of all," {H} often said.',
    )
    story.say(
        OPEN_TIME + ", there was a race {at}. The prize was {prize}.",
        OPEN_TIME + ', {Fa} said, "Let us have a race. The winner gets {prize}."',
    )
    if '"Let us' not in story.lines[-1]:
        story.say("{^Fa} wanted to run too.", "{^Fa} was there too.")
    story.say(
        '"You are much too slow," laughed {H}.',
        '{^H} laughed and said, "You can never win."',
        '"I will try my best," said {F}.',
    )
    story.say(
        "When the race began, {H} was far ahead.",
        "One, two, three, go! {^H} ran away, and {F} was far behind.",
    )
    if story.chance(0.5):
        story.say(
            (
                "{^H} looked back and could not see anyone. So {he} lay down under a tree and fell"
                " asleep."
            ),
            "On the way, {H} stopped to eat some berries and forgot the time.",
            'Soon {H} thought, "I have so much time," and sat down to rest.',
        )
        story.say(
            "But {F} went on and on, step by step.", "{^F} did not stop, not even for a moment."
        )
        story.say(
            "When {H} woke up and ran on, {F} was already there. {^F} had won!".replace(
                "woke up and ran on", "came at last"
            ),
            "When {H} came to the end, {F} was already there and smiled.",
        )
        story.say(
            '"You were faster than me," said {H}. "You did not give up."',
            '"Well done," said {H}. "I will never laugh at you again."',
        )
        story.maybe(
            0.6, "{^F} shared the prize with {H}.", '"Come, let us share the prize," said {F}.'
        )
        close(
            story,
            "{^H} learned that slow and steady wins the race.",
            "{^H} never laughed at {F} again.",
        )
    else:
        story.say(
            "Then {he} heard a cry. {^F} had fallen and hurt {fhis} foot.",
            "Suddenly, {F} fell into the mud and could not get out.",
        )
        story.say(
            "{^H} could win now. But {he} turned around and ran back.",
            "{^H} stopped. {^he} thought of the prize, but then {he} went back.",
        )
        story.say(
            '"Hold on to me," said {H}, and helped {F} up.',
            '"Do not worry, I will help you," said {H}.',
        )
        story.say(
            "They came to the end together, and everyone clapped.",
            "Side by side, they walked to the end, last of all. Everyone clapped for them.",
        )
        story.say("They both got the prize.", "So {H} and {F} got {prize} and shared it.")
        close(
            story,
            "{^H} learned that a friend is more important than a prize.",
            '"You are the real winner," said {F}.',
        )


def build(story):
    thing, material, use = story.pick(
        [
            ("boat", "some old wood", "sailed across the lake"),
            ("kite", "paper and string", "watched it fly in the sky"),
            ("tree house", "some wood and nails", "sat in it until evening"),
            ("bridge", "stones and wood", "walked over it again and again"),
            ("sand castle", "wet sand and shells", "put a little flag on the top"),
            ("snowman", "fresh white snow", "gave it an old hat"),
            ("cart", "four wheels and a box", "rolled down the hill"),
            ("bird house", "some small boards", "watched the birds move in"),
        ]
    )
    choose_friend(story)
    story.set(thing=thing, material=material, use=use)
    begin(story)
    story.say(
        OPEN_TIME + ", {H} wanted to build a {thing}.",
        OPEN_TIME + ", {H} had an idea. {^he} wanted to make a {thing}.",
        '"Today I will build a {thing}," said {H} one morning.',
    )
    story.say(
        "{^he} took {material} and began to work.", "{^he} found {material} and started at once."
    )
    story.say(
        "But it was not easy. The {thing} fell apart.",
        "{^he} worked for hours, but then the {thing} broke.",
        "{^he} tried it once, {he} tried it twice, but it always fell down.",
    )
    story.say(
        '"I cannot do it," said {H}.',
        "{^H} was angry and threw everything on the ground.",
        "{^H} sat down and did not know what to do.",
    )
    story.say(
        (
            '{^Fa} came and asked, "What are you making?" "I want to build a {thing}, but it will'
            ' not work," said {H}.'
        ),
        'Then {Fa} came by. "That looks like hard work," said {F}. "May I help you?"',
        '{^Fa} looked at it and said, "That is a good idea. Four hands are better than two."',
    )
    story.say(
        "So they worked together. {^H} held the parts, and {F} put them together.",
        "They worked side by side all afternoon.",
        "{^F} knew what to do, and {H} learned fast.",
    )
    story.maybe(
        0.5,
        "They [laughed and sang|talked and laughed] while they worked.",
        "When they were hungry, they ate some bread and went on.",
    )
    story.say(
        "In the evening, the {thing} was finished.",
        "At last, the {thing} was ready.",
        "And when the sun went down, there it was, a beautiful {thing}!",
    )
    story.say(
        '"It is the best {thing} in the world!" said {H}.',
        '"We did it!" said {H}.',
        "{^H} was very proud of the {thing}.",
    )
    story.say("They {use}.", "Then they {use}.", "The next day, they {use}.")
    close(
        story,
        "{^H} learned that many things are easier together.",
        "{^H} could not have done it alone, and {he} knew it.",
        "And the next day, they made another one for {F}.",
    )


def new_friend(story):
    choose_friend(story, family=False)
    if story.chance(0.5):
        choose_stranger(story, ANIMALS, story.pick(["shy", "small", "friendly", "funny"]))
    choose_place(story)
    game = story.pick(
        ["hide and seek", "with the ball", "in the sand", "catch", "in the leaves", "on the swing"]
    )
    story.set(game=game)
    if story.ctx["Fa"].startswith("{his} friend "):
        story.set(Fa=story.ctx["Fa"].replace("{his} friend ", ""))
    begin(story)
    story.say(
        "But {H} had no friends and was often [lonely|alone].",
        "{^he} had just moved there and did not know anyone.",
        "{^he} had many toys, but nobody to play with.",
    )
    story.say(
        OPEN_TIME + ", {he} went {to} to look for a friend.",
        OPEN_TIME + ", {H} sat {at} and watched the others play.",
        OPEN_TIME + ", {he} walked {to} all alone.",
    )
    story.say(
        (
            '{^he} asked the [snail|cow|bee|sheep], "Will you play with me?" "I have no time," was'
            " the answer."
        ),
        "{^he} wanted to say hello, but {he} was too shy.",
        "Nobody saw {him}, and {he} wanted to go home again.",
    )
    story.say(
        "Then {he} saw {Fa}, who was all alone too.",
        "Then {he} heard a small voice. It was {Fa}.",
        "Behind a bush sat {Fa}, and {fhe} looked sad.",
    )
    story.say(
        (
            '"[Hello|Hi], my name is {H}," said {H}.'
            if story.ctx["named"]
            else '"Hello, who are you?" asked {H}.'
        ),
        '"Why are you alone?" asked {H}.',
        '"Hello," said {H}, and {his} heart was beating fast.',
    )
    story.say(
        '"I have nobody to play with," said {F}. "Me too," said {H}.',
        '"[Hello|Hi]," said {F}. "Do you want to play?"',
        '{^F} smiled. "I was looking for a friend," {fhe} said.',
    )
    story.say(
        "They played {game} all afternoon.",
        "First they played {game}, and then they ate some [cake|berries|apples] together.",
        "They laughed and played {game} until it was dark.",
    )
    story.say(
        '"Will you come again tomorrow?" asked {F}. "Yes, of course," said {H}.',
        '"Can we play again tomorrow?" asked {H}. "Yes!" said {F}.',
        '"You are fun," said {F}. "Let us be friends."',
    )
    close(
        story,
        "Now {H} was not lonely any more.",
        "{^H} learned that you only have to say hello.",
        "And {H} went home and told {his} [mother|father] about {his} new friend.",
    )


def noise(story):
    where, who_list = story.pick(
        [
            ("an old box", ["kitten", "mouse", "puppy"]),
            ("a dark cave", ["bat", "bear cub", "puppy"]),
            ("a bush", ["bird", "rabbit", "hedgehog"]),
            ("the old barn", ["kitten", "lamb", "owl"]),
            ("the attic", ["mouse", "bird", "kitten"]),
            ("a hollow tree", ["owl", "squirrel", "bird"]),
        ]
    )
    choose_friend(story)
    baby = story.pick([b for b in who_list if b != story.ctx["kind"] and b not in story.ctx["F"]])
    need, fix = story.pick(
        [
            ("was hungry", "brought it some food"),
            ("was cold", "put a warm blanket around it"),
            ("had hurt its leg", "put a bandage on its leg"),
            ("had lost its mother", "helped it to find its mother"),
            ("was stuck", "pulled very carefully until it was free"),
        ]
    )
    story.set(
        spot=where,
        thespot=re.sub(r"^an? ", "the ", where),
        baby=baby,
        need=need,
        fix=fix,
        sound=story.pick(["a strange noise", "a strange sound", "a soft cry", "a quiet noise"]),
    )
    begin(story)
    story.say(
        "One [night|evening|day], {H} heard {sound}. It came from {spot}.",
        OPEN_TIME + ", {he} heard {sound} from {spot}.",
    )
    story.say(
        '"What was that?" [whispered|asked] {H}.',
        '"Is it a monster?" {he} [thought|whispered].',
        "{^he} was a little afraid, but also curious.",
    )
    story.say(
        '{^he} ran to {Fa} and said, "There is something in {thespot}!"',
        '{^he} called {Fa}. "Listen," said {H}. "Do you hear it too?"',
    )
    story.say(
        '"Let us have a look," said {F}.',
        '"Take a lamp, and we will see," said {F}.',
        '"Do not be afraid," said {F}. "I will come with you."',
    )
    story.say(
        "Slowly, they went to {thespot} and looked inside.",
        "Very quietly, they came nearer and looked.",
    )
    story.say(
        "There was no monster. There was only a little {baby}!",
        "Two big eyes looked at them. It was a tiny {baby}!",
        "It was only a little {baby}!",
    )
    story.say("The {baby} {need}.", "The poor {baby} {need}.")
    story.say(
        "So {H} {fix}, and {F} [spoke to it softly|sang a quiet song|told it not to be afraid].",
        "{^H} {fix}.",
    )
    story.say(
        "Soon the {baby} felt much better.",
        "The {baby} looked up and [smiled|was very happy].",
        "After a while, the {baby} was not afraid any more.",
    )
    close(
        story,
        "From that day on, the {baby} came to visit {H} every day.",
        "{^H} learned that things are often not as scary as they sound.",
        "{^H} gave the {baby} a name and took good care of it.",
    )


def star(story):
    what, why = story.pick(
        [("the moon", "moon"), ("a star", "star"), ("the rainbow", "rainbow"), ("a cloud", "cloud")]
    )
    choose_stranger(story, ["owl", "bird", "cat", "squirrel"], "wise old")
    story.set(what=what, why=why)
    begin(story)
    story.say(
        (
            "Every evening, {he} looked up at the sky."
            if why in ("moon", "star")
            else "{^he} often looked up at the sky."
        ),
        "{^H} liked nothing more than the sky.",
    )
    story.say(
        "{^he} wanted to touch {what}.",
        "{^he} wished that {he} could hold {what} in {his} hands.",
        '"I want to touch {what}," said {H}.',
    )
    story.say(
        "First, {he} stood on a chair, but it was not high enough.",
        "{^he} climbed on the roof, but {what} was still too far away.",
        "{^he} jumped as high as {he} could, but {what} was much too high.",
    )
    story.say(
        "Then {he} climbed the highest hill, but the sky was still far away.",
        "Then {he} took a long ladder, but even the ladder was too short.",
        "Then {he} climbed the tallest tree, but it was not tall enough.",
    )
    story.say(
        'There sat {Fa}. "What are you doing?" asked {F}. "I want to touch {what}," said {H}.',
        (
            '{^Fa} watched {him} and asked, "What do you want up there?" "I want to touch {what},"'
            " said {H}."
        ),
    )
    story.say(
        '"Come with me to the lake," said {F}.', '{^F} smiled and said, "Follow me to the water."'
    )
    story.say(
        "The water was quiet and clear, and in it {H} saw {what}.",
        "There, in the dark water, was {what}, as clear as in the sky.",
    )
    story.say(
        "{^H} put {his} hand into the water and touched it.",
        "Very softly, {H} touched the water. The {why} danced and laughed.".replace(
            "and laughed", "in the little waves"
        ),
    )
    story.say(
        '"Now I have touched {what}!" said {H}.',
        '"It is beautiful," whispered {H}.',
        '"Sometimes you must look down to find what is up," said {F}.',
    )
    close(
        story,
        "{^H} went home and dreamed of {what}.",
        "Since then, {H} often goes to the lake in the evening.",
        "And when {H} looks up at the sky, {he} smiles.",
    )


def storm(story):
    weather, came, after = story.pick(
        [
            (
                "rain",
                "it began to rain very hard",
                "the rain stopped, and a rainbow was in the sky",
            ),
            (
                "snow",
                "it began to snow, and soon everything was white",
                "the snow stopped, and the moon came out",
            ),
            (
                "storm",
                "a great storm came, and the wind was very strong",
                "the storm was over, and the sun came back",
            ),
            (
                "fog",
                "a thick fog came, and {he} could not see the path",
                "the fog was gone, and the sun came out",
            ),
        ]
    )
    choose_place(story)
    choose_stranger(story, ANIMALS + ["old woman", "old man"])
    if story.ctx["fkind"] == "old woman":
        pronouns(story, "f", "f")
    if story.ctx["fkind"] == "old man":
        pronouns(story, "m", "f")
    if story.ctx["fkind"].startswith("old"):
        story.set(Fa="a kind " + story.ctx["fkind"])
    story.set(
        weather=weather,
        came=came,
        after=after,
        drink=story.pick(["hot tea", "warm milk", "hot soup", "sweet cocoa"]),
    )
    begin(story)
    story.say(
        OPEN_TIME + ", {H} went {to} to [pick flowers|look for berries|play|take a long walk].",
        OPEN_TIME + ", {he} was {at}, far from home.",
    )
    story.say("Suddenly, {came}.", "But then {came}.")
    story.say(
        "{^H} was [cold|wet|scared] and wanted to go home, but {he} could not find the way.",
        '"How can I get home now?" thought {H}.',
        "{^H} ran and ran, but {his} home was far away.",
    )
    story.say(
        "Then {he} saw a light. It came from a little house.",
        "Then {he} saw a small house between the trees.",
        "At last, {he} came to a little door and knocked.",
    )
    story.say(
        '{^Fa} opened the door and said, "Come in, come in!"',
        'There lived {Fa}. "Come in and get warm," said {F}.',
    )
    story.say(
        "{^H} sat down by the fire, and {F} gave {him} {drink}.",
        "Inside it was warm, and there was {drink}.",
    )
    story.say(
        "They told each other stories and forgot the {weather}.",
        "{^F} told {him} a story about the old days.",
        "They played games and sang songs.",
    )
    story.say("After a while, {after}.", "Later, {after}.")
    story.say(
        '"Now I can show you the way home," said {F}.',
        "Then {F} took {him} home.",
        '"Come back soon," said {F}.',
    )
    thanks(story)
    close(
        story,
        "Since then, {H} is not afraid of the {weather}, because {he} has a friend there.",
        "The next day, {H} came back with a cake for {F}.",
        "And {H} often went to see {F} again.",
    )
