"""Plots about things that are lost, found, shared, made and given.

A plot takes a Story with a hero, chooses what else it needs, and says its sentences in order.
"""

from story import (
    begin,
    choose_friend,
    choose_place,
    choose_stranger,
    choose_thing,
    close,
    pronouns,
    thanks,
)
from story_words import (
    CLIMBERS_AND_SWIMMERS,
    COLOURS,
    FOODS,
    OPEN_TIME,
    PLURAL_FOODS,
    SPOTS,
)


def lost(story):
    choose_thing(story)
    choose_place(story)
    choose_friend(story)
    one, two, three = story.picks(SPOTS, 3)
    story.set(one=one, two=two, three=three)
    begin(story)
    story.say(
        (
            "{^he} had a {colour} {obj} that {he} [loved very much|took everywhere|kept in a"
            " special box]."
        ),
        "{^his} favourite thing was a {colour} {obj}.",
        "For {his} birthday, {he} got a {colour} {obj}, and {he} loved it.",
    )
    story.say(
        OPEN_TIME
        + ", {H} [went|walked|ran] {to}. [After a while|Later|When it was time to go home], {he}"
        " saw that the {obj} was gone.",
        OPEN_TIME + ", {H} was playing {at}. Suddenly, {he} [saw|noticed] that the {obj} was gone.",
        "But one day, {H} lost the {obj} {at}.",
    )
    story.say(
        "{^H} was very sad.",
        "{^H} began to cry.",
        '"Oh no!" cried {H}. "Where is my {obj}?"',
        "{^H} did not know what to do.",
        "{^he} felt sad and worried.",
    )
    story.maybe(
        0.6,
        "{^he} looked {one}, but it was not there.",
        "{^he} looked {one}, but {he} found nothing.",
    )
    story.say(
        'Then {Fa} came by and asked, "[Why are you so sad|What is wrong|What happened]?"',
        (
            '{^Fa} [saw|heard] {him} and asked, "[Why are you crying|What is the matter|Can I help'
            ' you]?"'
        ),
        '{^Fa} stopped and asked, "[What is wrong|What are you looking for]?"',
    )
    story.say(
        '"I lost my {obj}," said {H}.',
        '"I cannot find my {colour} {obj}," said {H}.',
        '"My {obj} is gone," said {H} [sadly|in a small voice].',
    )
    story.say(
        (
            '"Do not worry," said {F}. "[I will help you|We will find it together|Let us look for'
            ' it]."'
        ),
        '"[Let us look for it together|I will help you look]," said {F}.',
    )
    story.say(
        (
            "They looked {two}, but the {obj} was not there. Then they looked {three}, and there it"
            " was!"
        ),
        (
            "They looked {two} and {one}. At last, {F} saw something {colour} {three}. It was the"
            " {obj}!"
        ),
        "{^F} looked {two}, and {H} looked {three}. There {he} found the {obj}!",
        "They searched for a long time. At last, they found the {colour} {obj} {three}.",
    )
    story.say(
        "{^H} was so happy that {he} [jumped up and down|laughed out loud|hugged {F}].",
        "{^H} [smiled|laughed] and held the {obj} tight.",
    )
    thanks(story)
    close(
        story,
        "From that day on, {H} always took good care of the {obj}.",
        "{^H} never lost the {obj} again.",
        "After that, {H} let {F} play with the {obj} too.",
        "{^H} learned that it is easier to find things together.",
    )


def give_back(story):
    choose_thing(story)
    choose_place(story)
    choose_friend(story, family=False)
    owner = story.pick(
        ["old woman", "old man", "farmer", "baker", "queen", "king", "teacher", "gardener"]
    )
    while owner == story.ctx["kind"]:
        owner = story.pick(["old woman", "old man", "teacher"])
    sex = {"old woman": "f", "queen": "f", "old man": "m", "king": "m"}.get(owner) or story.pick(
        "mf"
    )
    pronouns(story, sex, "o")
    ((food, gift),) = story.picks(FOODS, 1)
    story.set(owner=owner, three=story.pick(SPOTS), gift=gift)
    begin(story)
    story.say(
        OPEN_TIME + ", {he} found a {colour} {obj} {three}.",
        OPEN_TIME + ", {he} was walking {at}. There, {three}, {he} saw a {colour} {obj}.",
        OPEN_TIME + ", {H} went {to}. On the way, {he} found a {colour} {obj} {three}.",
    )
    story.say(
        '"What a beautiful {obj}," said {H}. "[I wonder whose it is|Somebody must have lost it|Who'
        ' could have lost it]?"'.replace("it]?", "it]."),
        "It was so beautiful that {H} wanted to keep it. But {he} knew that somebody must miss it.",
        '"[Oh|Look], a {obj}!" said {H}. "Somebody must be looking for it."',
    )
    story.say(
        (
            '{^he} [met|saw] {Fa} and asked, "Is this your {obj}?" "No," said {F}. "But the {owner}'
            ' was looking for something."'
        ),
        (
            '{^he} asked {Fa}, "Did you lose a {obj}?" "No," said {F}, "but I think it belongs to'
            ' the {owner}."'
        ),
        (
            '{^he} showed it to {Fa}. "That is not mine," said {F}. "I think the {owner} lost a'
            ' {obj}."'
        ),
    )
    story.say(
        "So {H} [went|ran|walked] to the {owner} and knocked on the door.",
        "So {H} and {F} went to the {owner} together.",
        "So {H} took the {obj} to the {owner}.",
    )
    story.say(
        (
            '"My {obj}!" [cried|said] the {owner}. "[I looked for it everywhere|I thought it was'
            ' gone forever|I missed it so much]."'
        ),
        (
            'When the {owner} saw the {obj}, {ohe} smiled. "[I looked for it everywhere|I thought'
            ' it was gone forever]," {ohe} said.'
        ),
    )
    story.say(
        "The {owner} was so happy that {ohe} gave {H} {gift}.",
        'The {owner} said, "You are honest and kind," and gave {H} {gift}.',
        '"Thank you," said the {owner}. "Please take {gift}."',
    )
    story.say(
        "{^H} shared it with {F}.",
        "{^H} shared it with {F}, and it tasted very good.",
        "{^H} said thank you and [took it home|shared it with {F}].",
    )
    close(
        story,
        "{^H} learned that it feels good to be honest.",
        "{^H} was glad that {he} did not keep the {obj}.",
        "From that day on, the {owner} and {H} were good friends.",
    )


def share(story):
    food, some = story.pick(FOODS)
    choose_friend(story, family=False)
    if story.chance(0.6):
        choose_stranger(
            story,
            ["mouse", "bird", "dog", "cat", "fox", "duck", "squirrel", "rabbit"],
            story.pick(["hungry little", "small", "thin", "tired", "cold and hungry"]),
        )
    choose_place(story)
    is_are, it_them = ("are", "them") if food in PLURAL_FOODS else ("is", "it")
    story.set(food=food, some=some, it=it_them, isare=is_are)
    begin(story)
    story.say(
        OPEN_TIME + ", {H} had {some}. {^he} wanted to eat {it} all alone.",
        OPEN_TIME + ", {H} took {some} and went {to}.",
        OPEN_TIME + ", {H} sat {at} with {some}.",
        OPEN_TIME + ", {his} mother gave {H} {some} for the day.",
    )
    story.say(
        '{^Fa} came and looked at the {food}. "I am so hungry," said {F}.',
        'Then {he} saw {Fa}. "I did not eat anything today," said {F}.',
        'Just then, {Fa} came by. "[May|Can] I have a little of your {food}?" asked {F}.',
    )
    story.say(
        (
            "{^H} [looked at the {food}|thought for a moment]. There was not much, but {he} wanted"
            " to be kind."
        ),
        'At first, {H} said, "No, the {food} {isare} mine." But then {he} saw how sad {F} was.',
        "{^H} was hungry too, but {he} did not want {F} to be sad.",
    )
    story.say(
        '"Come and sit with me," said {H}. "There is enough for two."',
        '"Of course," said {H}. "We can share."',
        "So {H} gave half of the {food} to {F}.",
        '"Here, take half," said {H}.',
    )
    story.say(
        "They sat {at} and ate together.",
        "They ate the {food} together and [talked and laughed|told each other stories].",
        '"This is so good," said {F}. "Thank you."',
    )
    if story.chance(0.6):
        story.say(
            (
                "The next day, it rained and {H} could not find the way home. But {F} came and"
                " showed {him} the way."
            ),
            (
                "A few days later, {H} fell and hurt {his} foot. {^F} came at once and helped {him}"
                " home."
            ),
            (
                "The next day, {H} had nothing to eat. Then {F} came with a big basket and said,"
                ' "Now I can share with you."'
            ),
            "In the winter, when {H} was ill, {F} came every day and brought {him} warm soup.",
        )
    close(
        story,
        "{^H} learned that sharing makes everyone happy.",
        "{^H} was happy, because food tastes better with a friend.",
        "Since then, they [always|often] share everything.",
    )


def rescue(story):
    choose_thing(story)
    kind, problem, kinds, act = story.pick(
        [
            (
                "tree",
                "got stuck high up in a tree",
                ["squirrel", "bird", "monkey"],
                {
                    "squirrel": "climbed up the tree as quick as the wind",
                    "bird": "flew up to the top of the tree",
                    "monkey": "climbed from branch to branch",
                },
            ),
            (
                "hole",
                "fell into a deep hole",
                ["mole", "mouse", "snake"],
                {
                    "mole": "dug a tunnel to the bottom of the hole",
                    "mouse": "ran down into the hole",
                    "snake": "went down into the hole without a sound",
                },
            ),
            (
                "river",
                "fell into the river",
                ["duck", "otter", "fish"],
                {
                    "duck": "swam out to the middle of the river",
                    "otter": "dived into the cold water",
                    "fish": "swam down to the bottom of the river",
                },
            ),
            (
                "wind",
                "flew away in the wind and landed on a roof",
                ["bird", "cat", "owl"],
                {
                    "bird": "flew up to the roof",
                    "cat": "jumped up on the roof",
                    "owl": "flew to the top of the roof",
                },
            ),
        ]
    )
    if story.ctx["kind"] in CLIMBERS_AND_SWIMMERS:
        story.set(kind=story.pick(["rabbit", "dog", "bear", "pig", "goat", "lamb"]))
    choose_stranger(story, kinds)
    story.set(problem=problem, act=act[story.ctx["fkind"]])
    toy = story.pick(
        ["kite", "hat", "scarf", "ball"]
        if kind != "hole"
        else ["ball", "ring", "key", "button", "bell"]
    )
    if kind == "wind":
        toy = story.pick(["kite", "hat", "scarf", "umbrella"])
    if kind == "river":
        toy = story.pick(["ball", "hat", "boat", "ring", "key"])
    story.set(obj=toy)
    begin(story)
    story.say(
        (
            "{^he} had a {colour} {obj} and [loved it very much|played with it every day|was very"
            " proud of it]."
        ),
        "{^H} had a new {obj}. It was {colour} and very beautiful.",
    )
    story.say(
        OPEN_TIME + ", the {obj} {problem}.",
        "But one day, the {obj} {problem}.",
        OPEN_TIME + ", {H} was not careful, and the {obj} {problem}.",
    )
    story.say(
        '"Oh no, my {obj}!" cried {H}.',
        "{^H} tried to get it back, but {he} could not reach it.",
        "{^H} tried and tried, but {he} could not get it.",
    )
    story.maybe(
        0.5,
        "{^he} took a long stick, but the stick was too short.",
        "{^he} called for help.",
        "{^he} sat down and cried.",
    )
    story.say(
        '{^Fa} [heard|saw] {him} and asked, "[Can I help you|What is wrong|What happened]?"',
        'Just then, {Fa} came by. "[What is the matter|Do you need help]?" asked {F}.',
    )
    story.say(
        '"My {obj} {problem}," said {H}.',
        '"I want my {obj} back, but I cannot reach it," said {H}.',
    )
    story.say(
        '"[That is easy for me|I can get it|Wait here]," said {F}.',
        '"I am [small|not very strong], but I can do that," said {F}.',
    )
    story.say(
        "Then {F} {act} and came back with the {obj}.",
        "{^F} {act}. A moment later, {fhe} had the {obj}.",
        "{^F} {act} and got the {colour} {obj}.",
    )
    thanks(story)
    story.maybe(
        0.5,
        '"It was nothing," said {F}.',
        '"Friends help each other," said {F}.',
        '"Would you like to play with me?" asked {H}. "Yes!" said {F}.',
    )
    close(
        story,
        "Then {H} and {F} played with the {obj} all day.",
        "{^H} was more careful after that.",
        "{^H} learned that even a small friend can be a big help.",
    )


def quarrel(story):
    choose_thing(story)
    choose_place(story)
    choose_friend(story, family=False)
    if story.ctx["Fa"].startswith("a "):
        story.set(Fa="{his} friend " + story.ctx["F"])
    if story.ctx["obj"] in ("key", "button", "ring"):
        story.set(obj="ball")
    begin(story)
    story.say("{^he} often played with {Fa}.", "{^he} and {Fa} played together every day.")
    story.say(
        OPEN_TIME + ", they found a {colour} {obj} {at}.",
        OPEN_TIME + ", they both wanted to play with the same {colour} {obj}.",
        OPEN_TIME + ", {H} brought a new {colour} {obj}, and both wanted to have it first.",
    )
    story.say(
        '"It is mine!" said {H}. "No, it is mine!" said {F}.',
        '"I want it," said {H}. "I want it too," said {F}.',
        '"Give it to me!" shouted {H}. "No, I had it first!" shouted {F}.',
    )
    story.say(
        "They pulled and pulled, until the {obj} broke.",
        "{^H} pulled on one side, and {F} pulled on the other. Then the {obj} broke.",
        "They [shouted|fought], and the {obj} fell down and broke.",
    )
    story.say(
        "Now nobody could play with it.",
        "{^F} went home without a word.",
        "They were both angry and went home.",
    )
    story.say(
        "That evening, {H} felt sad and alone.",
        "At home, {H} could not stop thinking about it.",
        "{^H} sat in {his} room and felt very sorry.",
    )
    story.say(
        (
            'The next day, {he} went to {F} and said, "I am sorry. [I should have shared|I was not'
            ' kind|You are more important than a {obj}]."'
        ),
        (
            'The next morning, {H} knocked on the door. "I am sorry," said {H}. "I am sorry too,"'
            " said {F}."
        ),
    )
    story.say(
        "Together, they [mended|repaired] the {obj} with a little glue.",
        "They took some glue and some string and mended the {obj} together.",
        "Then they worked all afternoon, and the {obj} was as good as new.",
    )
    story.say(
        "First {H} played with it, and then {F}.",
        '"You go first," said {H}. "No, you go first," said {F}, and they both laughed.',
        "This time, they took turns.",
    )
    close(
        story,
        "{^H} learned that a friend is worth more than any {obj}.",
        "They never fought about the {obj} again.",
        "From then on, they always took turns.",
    )


def too_much(story):
    food, some = story.pick(
        [f for f in FOODS if f[0] not in ("soup", "bread", "carrots", "cheese")]
    )
    guests = story.pick(["the party", "the guests", "the birthday", "the feast"])
    choose_friend(story)
    it = "them" if food in PLURAL_FOODS else "it"
    was = "were" if food in PLURAL_FOODS else "was"
    story.set(food=food, some=some, guests=guests, it=it, was=was)
    begin(story)
    story.say(
        OPEN_TIME + ", there was {some} on the table. It was for {guests}.",
        OPEN_TIME + ", {Fa} put {some} on the table for {guests}.",
    )
    if "{Fa}" not in story.lines[-1]:
        story.say(
            '"Please do not touch the {food}," said {F}.'
            if not story.ctx["Fa"].startswith("a ")
            else '{^Fa} said, "Please do not touch the {food}."'
        )
    else:
        story.say('"Please do not touch the {food}," said {F}.')
    story.say(
        "But the {food} smelled so good.",
        "But {H} was so hungry, and the {food} looked so sweet.",
        '"Only a little bit," thought {H}.',
    )
    story.say(
        "{^H} ate a little, and then a little more, until nothing was left.",
        "{^H} took one bite, and another, and soon {he} had eaten {it} all.",
    )
    story.say(
        "Then {his} tummy began to hurt.",
        "After that, {H} felt very ill.",
        "Now {H} felt bad, and {his} tummy hurt.",
    )
    story.say(
        '{^F} came back and asked, "Where {was} the {food}?"'.replace("Where {was}", "Who ate"),
        '"Who ate the {food}?" asked {F}.',
    )
    story.say(
        '{^H} wanted to say, "I do not know." But that would be a lie.',
        "{^H} looked at the floor and turned red.",
    )
    story.say(
        '"It was me," said {H}. "I am very sorry."', '"I did it," {he} said at last. "I am sorry."'
    )
    story.say(
        '"I am not happy about it," said {F}, "but I am glad that you told the truth."',
        '"Thank you for telling the truth," said {F}.',
        '"It was brave of you to say that," said {F}.',
    )
    story.say(
        "Together, they made a new one for {guests}.".replace("a new one", "something new"),
        "Then they went into the kitchen and made more {food} together.",
        "So {H} helped {F} to make new {food}.",
    )
    close(
        story,
        "{^H} learned that it is always best to tell the truth.",
        "{^H} never ate so much again.",
        "And this time, {H} waited for {guests}.",
    )


def gift(story):
    who = story.pick(
        ["mother", "father", "grandmother", "grandfather", "teacher", "sister", "brother"]
    )
    pronouns(
        story,
        (
            "f"
            if who in ("mother", "grandmother", "sister")
            else "m" if who != "teacher" else story.pick("mf")
        ),
        "o",
    )
    choose_friend(story, family=False)
    gift, made = story.pick(
        [
            ("a card", "painted flowers and a sun on it"),
            ("a cake", "put berries on the top"),
            ("a song", "found the right words for it"),
            ("a picture", "painted the whole family on it"),
            ("a crown of flowers", "took the most beautiful flowers"),
            ("a scarf", "made it long and warm"),
            ("a wooden bird", "painted it {colour}"),
        ]
    )
    story.set(who=who, gift=gift, made=made, colour=story.pick(COLOURS), gone=gift.split(" ", 1)[1])
    begin(story)
    story.say(
        "{^his} {who} had a birthday, and {H} wanted to give {ohim} something special.",
        "The next day was the birthday of {his} {who}. But {H} had no gift.",
        OPEN_TIME + ", {he} remembered that it was the birthday of {his} {who}.",
    )
    story.say(
        "{^he} looked into {his} purse, but there was no money in it.",
        "{^he} went to the shop, but everything was too expensive.",
        "{^he} thought and thought, but {he} had no idea.",
    )
    story.say(
        '{^he} asked {Fa}, "What can I give {ohim}?"',
        (
            '{^Fa} saw {him} and asked, "What are you thinking about?" "I have no gift for my'
            ' {who}," said {H}.'
        ),
    )
    story.say(
        '"The best gifts are made by hand," said {F}.',
        '"You can make something yourself," said {F}. "[I will help you|That is the best gift]."',
        '"Give {ohim} something that comes from the heart," said {F}.',
    )
    story.say(
        "So {H} made {gift} and {made}.", '"I know!" said {H}. "I will make {gift}." {^he} {made}.'
    )
    story.maybe(
        0.5,
        "It took the whole day.",
        "It was a lot of work, but it was fun.",
        "{^F} helped {him} until it was finished.",
    )
    story.say(
        'Then {H} went to {his} {who} and said, "Happy birthday!"',
        "In the evening, {H} gave {gift} to {his} {who}.".replace("{gift}", "the {gone}"),
    )
    story.say(
        '"This is the most beautiful gift I ever got," said {his} {who}.',
        "{^his} {who} had tears of joy in {ohis} eyes.",
        '{^his} {who} smiled and hugged {him}. "You made it yourself!" {ohe} said.',
    )
    close(
        story,
        "{^H} learned that a gift from the heart is the best gift.",
        "And they all ate cake and sang songs until late.",
        (
            "{^his} {who} kept the {gone} for many years."
            if gift not in ("a cake", "a song")
            else "{^his} {who} never forgot it."
        ),
    )


def treasure(story):
    choose_friend(story)
    choose_place(story, {"forest", "beach", "hill", "lake", "meadow", "garden"})
    found, use = story.pick(
        [
            ("gold coins", "They gave the gold to the poor people in the village."),
            ("old books full of stories", "They read the stories to everyone in the village."),
            (
                "seeds of many colours",
                "They planted the seeds, and soon there were flowers everywhere.",
            ),
            ("musical instruments", "They gave them to their friends and played music together."),
            (
                "a letter",
                'In the letter it said, "The real treasure is the friend who came with you."',
            ),
            ("toys from long ago", "They shared the toys with all the children."),
        ]
    )
    story.set(
        found=found,
        one=story.pick(SPOTS),
        steps=story.pick(["ten", "twenty", "five", "seven", "twelve"]),
    )
    begin(story)
    story.say(
        OPEN_TIME + ", {he} found an old map {one}.",
        OPEN_TIME + ", {H} opened an old book, and a map fell out.",
    )
    story.say(
        "On the map there was a big red cross.",
        "The map showed the way to a treasure.",
        "It showed a path, a tree and a big red cross.",
    )
    story.say(
        '{^he} showed it to {Fa}. "It is a treasure map!" said {F}.',
        '{^he} ran to {Fa}. "Look, a treasure map!" said {H}.',
    )
    story.say('"Let us find it," said {H}.', '"Shall we look for it?" asked {H}. "Yes!" said {F}.')
    story.say("They went {to}, just as the map said.", "They followed the map {to}.")
    story.maybe(
        0.7,
        "They climbed over rocks and jumped over a small stream.",
        "The way was long, but they sang a song.",
        "On the way it began to rain, but they did not turn back.",
    )
    story.say(
        "By the old tree they took {steps} steps and began to dig.",
        "They took {steps} steps to the left and dug a deep hole.",
    )
    story.say(
        "Soon they found a wooden chest.",
        "Then they hit something hard. It was a chest!",
        "There, under the ground, was an old chest.",
    )
    story.say(
        (
            "They opened it. It was full of {found}!"
            if found != "a letter"
            else "They opened it. In it there was only {found}."
        ),
        "With shaking hands, {H} opened it and saw {found}.",
    )
    story.lines.append(use)
    story.say(
        '"What a day!" said {F}.',
        '"I am glad that you came with me," said {H}.',
        "{^H} and {F} looked at each other and smiled.",
    )
    close(
        story,
        "{^H} put the map on the wall and looked at it every night.",
        "And {H} knew that the best treasure is a good friend.",
    )


def cook(story):
    dish, missing = story.pick(
        [
            ("a cake", "eggs"),
            ("a cake", "sugar"),
            ("a pie", "apples"),
            ("bread", "flour"),
            ("soup", "carrots"),
            ("soup", "salt"),
            ("pancakes", "milk"),
            ("pancakes", "eggs"),
            ("a pie", "berries"),
            ("cookies", "butter"),
        ]
    )
    choose_friend(story)
    choose_place(story, {"garden", "village", "forest", "meadow", "hill"})
    other = story.pick(
        [k for k in ["cow", "hen", "goose", "sheep", "horse", "donkey"] if k != story.ctx["kind"]]
    )
    plain = dish.split(" ", 1)[1] if dish.startswith("a ") else dish
    one = "them" if dish in ("pancakes", "cookies") else "it"
    story.set(dish=dish, plain=plain, missing=missing, other=other, it=one, smelled="smelled")
    begin(story)
    story.say(
        OPEN_TIME + ", {H} wanted to make {dish}.",
        '"Today I will make {dish}," said {H} one morning.',
        OPEN_TIME + ", {H} was hungry for {dish}.",
    )
    story.say(
        (
            "{^he} went into the kitchen, but there [was|was] no {missing}.".replace(
                "[was|was] no", "[were|were] no"
            )
            if missing in ("eggs", "apples", "carrots", "berries")
            else "{^he} went into the kitchen, but there was no {missing}."
        ),
        "{^he} had everything, only no {missing}.",
    )
    story.say(
        (
            '{^he} asked the {other}, "Do you have some {missing}?" "No," said the {other}, "but'
            ' ask {F}."'
        ),
        "{^he} went to the {other}, but the {other} had no {missing}.",
    )
    story.say(
        'So {he} went to {Fa}. "Can you give me some {missing}?" asked {H}.',
        'Then {he} met {Fa}. "I need some {missing} for my {plain}," said {H}.',
    )
    story.say(
        '"Of course," said {F}. "[But may I have a little of the {plain}|May I help you]?"',
        '"Here you are," said {F}. "What will you make?" "You will see," said {H}.',
        '"Yes, I have enough," said {F}, and gave {him} a bag full of {missing}.',
    )
    story.say(
        "{^H} went home and began to work.",
        "Back in the kitchen, {H} mixed everything in a big bowl.",
        "They went to the kitchen and started to work together.",
    )
    story.say(
        "Soon the whole house {smelled} good.",
        "It {smelled} so good that all the neighbours came to the window.",
    )
    story.say(
        "When the {plain} was ready, {H} called {F} and the {other}.".replace(
            "was", "were" if one == "them" else "was"
        ),
        "Then {H} put the {plain} on the table and called all {his} friends.",
    )
    story.say(
        "They sat at the table and ate until nothing was left.",
        (
            "Everyone got a big piece, and everyone was happy."
            if one == "it" and plain != "soup"
            else "Everyone got enough, and everyone was happy."
        ),
        '"I never ate better {plain}," said {F}.',
    )
    close(
        story,
        "{^H} learned that food is best when you eat it together.",
        "And the next time, {F} was the cook.",
        "After that, they cooked together every week.",
    )
