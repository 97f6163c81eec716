"""Things that are so, in the project's own words: subjects for explanations and questions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to explain.

    Attributes:
        name: what it is.
        question: as people ask it, after "Can you tell me".
        facts: sentences that stand in any order.
        advice: a sentence to end with.
    """

    name: str
    question: str
    facts: tuple[str, ...]
    advice: str


SUBJECTS = (
    Subject(
        name="the rainbow",
        question="how a rainbow comes about",
        facts=(
            "Sunlight is a mixture of all colours.",
            "A raindrop bends light when it enters and again when it leaves.",
            "Each colour is bent by a slightly different angle, so the colours part.",
            "One sees a rainbow only with the sun at one's back and rain in front.",
        ),
        advice="With a garden hose on a sunny day you can make one yourself.",
    ),
    Subject(
        name="rust",
        question="why iron rusts",
        facts=(
            "Iron combines with oxygen and water to form rust.",
            "Salt speeds this up, which is why cars rust faster near the sea.",
            "Rust is loose and lets air through, so the iron below it rusts too.",
            "Paint or oil keeps water away from the metal.",
        ),
        advice="Dry your tools before you put them away.",
    ),
    Subject(
        name="bread dough",
        question="why bread rises",
        facts=(
            "Yeast is alive and feeds on sugar from the flour.",
            "While it feeds it gives off gas, which fills the dough with bubbles.",
            "Kneading makes the dough elastic enough to hold them.",
            "In the oven the bubbles grow once more before the crust becomes firm.",
        ),
        advice="Give the dough time: warmth helps, but patience helps more.",
    ),
    Subject(
        name="the tide",
        question="what causes high and low tide",
        facts=(
            "The moon pulls at the water of the sea.",
            "The sun does the same, but it is so far away that its pull counts less.",
            "Most coasts have two high tides a day.",
            "At full and new moon, sun and moon pull together and the tide is highest.",
        ),
        advice="Before you walk along a beach, look up when the water returns.",
    ),
    Subject(
        name="an echo",
        question="where an echo comes from",
        facts=(
            "Sound travels about 340 metres in a second.",
            "A smooth wall throws it back, much as a mirror does with light.",
            "We hear the returning sound separately only if the wall is far enough away.",
            "Curtains and carpets swallow sound, so furnished rooms have no echo.",
        ),
        advice="Clap your hands in an empty room and then in a full one.",
    ),
    Subject(
        name="the change of the seasons",
        question="why there are seasons",
        facts=(
            "The axis of the Earth is tilted.",
            "In summer our half of the Earth leans towards the sun.",
            "Days are longer then, and the light falls more steeply.",
            "When it is winter in the north, it is summer in the south.",
        ),
        advice="A lamp and an orange are enough to see how it works.",
    ),
    Subject(
        name="a compass",
        question="how a compass knows where north is",
        facts=(
            "The needle of a compass is a small magnet.",
            "The Earth itself acts like a large magnet.",
            "The needle turns until it lies along the Earth's magnetic field.",
            "Iron nearby can lead it astray.",
        ),
        advice="Keep your compass away from your telephone.",
    ),
    Subject(
        name="composting",
        question="what happens on a compost heap",
        facts=(
            "Worms, fungi and bacteria break down leaves and peelings.",
            "They need air, so the heap should be turned now and then.",
            "Inside a large heap it can become hot.",
            "After about a year, dark and crumbly soil remains.",
        ),
        advice="Mix dry leaves with green kitchen waste and keep it moist.",
    ),
    Subject(
        name="the thermometer",
        question="how a thermometer measures warmth",
        facts=(
            "Most liquids need more room when they become warmer.",
            "In a thin tube a little more liquid makes a long column.",
            "Freezing and boiling water give two fixed marks on the scale.",
            "Between the marks the scale is divided evenly.",
        ),
        advice="Hang it in the shade, or you will measure the sun instead of the air.",
    ),
    Subject(
        name="the bicycle",
        question="why a bicycle does not fall over while it moves",
        facts=(
            "When it leans to one side, the front wheel turns to that side too.",
            "The wheels thereby come back under the rider's weight.",
            "The faster it goes, the smaller the corrections can be.",
            "Standing still, there is nothing to steer with.",
        ),
        advice="So look ahead and keep pedalling.",
    ),
    Subject(
        name="the library",
        question="how books are found in a library",
        facts=(
            "Every book carries a number for its subject.",
            "Books on the same subject stand side by side.",
            "The catalogue tells which number belongs to which title.",
            "A book that is put back in the wrong place is as good as lost.",
        ),
        advice="If you cannot find something, ask; librarians like to be asked.",
    ),
    Subject(
        name="bird migration",
        question="why birds fly south in autumn",
        facts=(
            "In winter there are few insects and little fruit in the north.",
            "Birds eat a lot before they leave, and fat is their fuel.",
            "Some find their way by the sun and the stars.",
            "Many return to the very place where they were hatched.",
        ),
        advice="On a clear October day it is worth looking up.",
    ),
)
