"""The words of the small stories: names, kinds, things, places, and the common phrases."""

BOY_NAMES = (
    "Tom Ben Max Sam Tim Leo Jack Finn Oscar Paul Peter Felix Hugo Noah Theo Emil Jonas Milo Otto"
    " Nico Anton Bruno Karl Robin Simon David Henry Will Rudi Pip"
).split()
GIRL_NAMES = (
    "Lily Anna Mia Sue Emma Lucy Rosa Nora Clara Ella Ida Mara Tina Zoe Ruby Molly Daisy Greta Lena"
    " Julia Maya Alice Hanna Frida Sara Eva Polly Nina Wendy Dora"
).split()
NAME_STARTS = (
    "Ba Bo Da Do Fi Ga Go Ha Jo Ka Ki Li Lo Ma Mi Mo Na Pa Pi Ro Ru Sa Ta Ti To Vi Wi Za Zu".split()
)
BOY_ENDS = "bo ko lo mo no ro to din kin lin min ras tan vin".split()
GIRL_ENDS = "la lia ma mi na ni ra ria sa tta lina belle".split()

# Kinds of hero. PEOPLE_M are male, PEOPLE_F female; animals and others can be either.
ANIMALS = (
    "cat dog rabbit bear fox mouse duck frog pig goat squirrel hedgehog turtle lamb pony kitten"
    " puppy owl monkey elephant lion penguin"
).split()
PEOPLE_M = ["boy", "king", "farmer", "baker", "prince", "fisherman", "giant", "wizard", "knight"]
PEOPLE_F = ["girl", "queen", "farmer", "baker", "princess", "witch", "fairy", "gardener"]
OTHERS = ["robot", "dragon"]
SLOW = {
    "turtle",
    "hedgehog",
    "duck",
    "mouse",
    "owl",
    "penguin",
    "frog",
    "robot",
    "giant",
    "elephant",
}
CLIMBERS_AND_SWIMMERS = {
    "monkey",
    "squirrel",
    "cat",
    "kitten",
    "owl",
    "duck",
    "frog",
    "turtle",
    "mouse",
    "penguin",
    "dragon",
    "fairy",
}
CHILD_KINDS = {"boy", "girl"}

HERO_ADJ = (
    "little little little small young brave happy kind curious clever cheerful shy quiet funny"
    " gentle friendly lively"
).split()
FRIEND_ADJ = "kind wise old friendly clever gentle small big young cheerful".split()

COLOURS = "red blue green yellow white black brown purple orange pink golden silver".split()
TOYS = (
    "ball hat scarf drum bell book whistle doll blanket key lamp basket cup button flute ring"
    .split()
)

# (noun, "in the ...", "to the ..."): each noun has its own prepositions.
PLACES = [
    ("forest", "in the forest", "into the forest"),
    ("garden", "in the garden", "to the garden"),
    ("meadow", "in the meadow", "to the meadow"),
    ("park", "in the park", "to the park"),
    ("river", "by the river", "to the river"),
    ("lake", "by the lake", "to the lake"),
    ("hill", "on the hill", "up the hill"),
    ("beach", "on the beach", "to the beach"),
    ("field", "in the field", "to the field"),
    ("village", "in the village", "to the village"),
]
HOMES = [
    "a small house near the forest",
    "a little house on a hill",
    "a cosy house by the river",
    "a quiet village near the sea",
    "an old house with a green door",
    "a small village by the lake",
    "a little house with a red roof",
    "a big house at the end of the road",
    "a warm house near the farm",
    "a small house under a tall tree",
]
SPOTS = [
    "under a big rock",
    "behind an old tree",
    "in a pile of leaves",
    "under the bridge",
    "in the tall grass",
    "inside a hollow log",
    "behind a bush",
    "between two stones",
    "under a wooden bench",
    "next to the old well",
    "behind the fence",
    "beside the path",
]
FOODS = [
    ("bread", "a loaf of bread"),
    ("cake", "a sweet cake"),
    ("apples", "a basket of apples"),
    ("cheese", "a big piece of cheese"),
    ("soup", "a pot of warm soup"),
    ("berries", "a bowl of berries"),
    ("cookies", "a bag of cookies"),
    ("honey", "a jar of honey"),
    ("nuts", "a bag of nuts"),
    ("pears", "a basket of pears"),
    ("pie", "a cherry pie"),
    ("carrots", "a bunch of carrots"),
]
PLURAL_FOODS = {"apples", "berries", "cookies", "nuts", "pears", "carrots"}

OPEN_TIME = "{when}"
FIRST_TIME = (
    "[One day|One morning|One afternoon|One sunny day|One fine morning|One cold morning|One warm"
    " day]"
)
LATER_TIME = "[Later that day|After breakfast|A little later|That afternoon|Later]"

CLOSE_HAPPY = [
    "They [all |]lived happily ever after.",
    "From that day on, {H} and {F} were the best of friends.",
    "{^H} went home with a big smile.",
    "That night, {H} slept well and had sweet dreams.",
    "It was the best day [of all|ever|{H} could remember].",
    "And {H} never forgot that day.",
    (
        "And from then on, {H} and {F} [played together every day|helped each other every day|met"
        " every day]."
    ),
    "When the sun went down, {H} was tired but very happy.",
    "Then they [laughed and danced until the stars came out|sat down and watched the sun go down].",
]

SHORT_FORMS = [
    ("Do not ", "Don't "),
    ("Let us ", "Let's "),
    ("cannot ", "can't "),
    ("I am ", "I'm "),
    ("That is ", "That's "),
    ("I will ", "I'll "),
    ("could not ", "couldn't "),
    ("did not ", "didn't "),
    ("I do not ", "I don't "),
]
