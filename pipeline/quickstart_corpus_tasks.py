"""What the quickstart's instructions are about."""

VERBS = (
    ("walks", "walked", "walk"),
    ("runs", "ran", "run"),
    ("looks", "looked", "look"),
    ("drives", "drove", "drive"),
    ("comes back", "came back", "come back"),
    ("waits", "waited", "wait"),
    ("sings", "sang", "sing"),
    ("writes a letter", "wrote a letter", "write a letter"),
    ("eats an apple", "ate an apple", "eat an apple"),
    ("finds a coin", "found a coin", "find a coin"),
)

EVENTS = (
    "a concert",
    "a reading",
    "a chess evening",
    "a walk along the river",
    "a cooking course",
    "the yearly meeting",
    "a flea market",
)

EXCUSES = (
    ("the train does not run", "there is no train that day"),
    ("the room is taken", "the room is already taken"),
    ("a child is ill", "one of the children is ill"),
    ("the figures are not ready", "the figures will not be ready in time"),
    ("the heating is being repaired", "the heating is being repaired"),
)

OFFERS = (
    "Would {other} at the same time suit you?",
    "Could we meet on {other} instead? I will bring the papers.",
    "I suggest {other}. Please let me know whether that works.",
)

REVIEWS = (
    ("The {thing} broke after two days.", "Negative", "the {thing} did not last"),
    ("{name} loves the {thing}. {She} uses it daily.", "Positive", "the {thing} is used with joy"),
    ("I would buy this {thing} again at once.", "Positive", "the buyer would buy it again"),
    ("Too heavy, too expensive, and late.", "Negative", "it names three faults and no merit"),
    ("A fine {thing}, and it came a day early.", "Positive", "it praises product and delivery"),
    ("The {thing} looks nothing like the picture.", "Negative", "the picture promised more"),
)

TASKS = (
    (
        "make tea",
        ("Boil fresh water.", "Warm the pot.", "Put in a spoon of tea for each cup.",
         "Pour the water over it.", "Wait three to five minutes.", "Strain it into the cups."),
    ),
    (
        "mend a flat bicycle tyre",
        ("Take the wheel off.", "Lift the tyre and pull out the tube.",
         "Pump it up and listen for the hole.", "Roughen the rubber around the hole.",
         "Glue a patch on and press it firmly.", "Put everything back and pump it up."),
    ),
    (
        "plant a tree",
        ("Dig a hole twice as wide as the roots.", "Loosen the soil at the bottom.",
         "Set the tree in upright.", "Fill in the earth and press it down.",
         "Water it well.", "Tie it to a stake."),
    ),
    (
        "prepare for a talk",
        ("Write down the one thing that people should remember.", "Collect three examples.",
         "Put them in order.", "Speak it aloud with a clock beside you.", "Cut what is too long.",
         "Sleep well."),
    ),
    (
        "clean a window",
        ("Dust the frame.", "Mix warm water with a little soap.", "Wash the glass from the top.",
         "Draw the water off with a rubber blade.", "Wipe the edges dry."),
    ),
    (
        "find a lost key",
        ("Stop and think when you last used it.", "Check all your pockets.",
         "Walk the same way again slowly.", "Look under and behind the furniture.",
         "Ask the others in the house.", "Have a new one made."),
    ),
)  # fmt: skip
