"""Words that the quickstart's corpus is made of."""

NAMES = (
    *("Ada", "Amir", "Bela", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jana"),
    *("Kofi", "Lena", "Milo", "Nora", "Omar", "Priya", "Quinn", "Rosa", "Sami", "Tara", "Uma"),
    *("Viktor", "Wanda", "Yusuf", "Zoe"),
)
THINGS = (
    *("apples", "books", "candles", "coins", "eggs", "jars of honey", "lamps", "marbles", "maps"),
    *("notebooks", "oranges", "pencils", "postcards", "ropes", "seashells", "stamps", "tickets"),
    *("tiles", "bottles", "ribbons"),
)
PLACES = (
    *("the harbour", "the old mill", "the market square", "a quiet library", "the lighthouse"),
    *("the orchard", "a mountain hut", "the railway station", "the bakery", "the glass house"),
    *("the river bank", "a workshop full of clocks", "the school yard", "the copper mine"),
)
TRADES = (
    *("baker", "carpenter", "doctor", "farmer", "gardener", "glass blower", "librarian", "miller"),
    *("nurse", "painter", "pilot", "potter", "sailor", "tailor", "teacher", "watchmaker"),
)
ANIMALS = (
    *("bear", "cat", "crow", "dog", "donkey", "fox", "goat", "goose", "heron", "horse", "mouse"),
    *("otter", "owl", "pig", "rabbit", "sheep", "snail", "wolf"),
)
COLOURS = ("amber", "black", "blue", "brown", "green", "grey", "orange", "purple", "red", "white")
MOODS = ("calm", "careful", "cheerful", "curious", "honest", "patient", "proud", "shy", "stubborn")
WEATHER = (
    *("a cold wind", "a warm rain", "bright sunshine", "early frost", "heavy fog", "light snow"),
    *("a thunderstorm", "the first heat of summer"),
)
CAPITALS = {
    "Austria": "Vienna",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "Denmark": "Copenhagen",
    "Egypt": "Cairo",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "India": "New Delhi",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Thailand": "Bangkok",
}
OPPOSITES = {
    "begin": "end",
    "brave": "timid",
    "bright": "dark",
    "cheap": "expensive",
    "clean": "dirty",
    "deep": "shallow",
    "early": "late",
    "easy": "difficult",
    "empty": "full",
    "fast": "slow",
    "generous": "mean",
    "heavy": "light",
    "loud": "quiet",
    "narrow": "wide",
    "noisy": "silent",
    "old": "new",
    "polite": "rude",
    "rough": "smooth",
    "sharp": "blunt",
    "strong": "weak",
    "warm": "cool",
    "wet": "dry",
}
