"""Stories for the quickstart's corpus: who, where, what happened, and how it ended."""

from pipeline.quickstart_corpus_words import (
    ANIMALS,
    COLOURS,
    DAYS,
    OBJECTS,
    PLACES,
    SEASONS,
    TOWNS,
    TRADES,
    WEATHER,
    Words,
    a,
    sentence,
)


def story(words: Words) -> list[list[str]]:
    """Three or four paragraphs about somebody, an animal and a thing."""
    name, she, her = words.person()
    her_to = "her" if she == "she" else "him"
    trade, town, thing = words.pick(TRADES), words.pick(TOWNS), words.pick(OBJECTS)
    animal, colour, place = words.pick(ANIMALS), words.pick(COLOURS), words.pick(PLACES)
    return [
        [
            words.pick(
                (
                    f"In {town} there lived {a(trade)} called {name}.",
                    f"{name} was {a(trade)} in {town}, as {her} mother had been.",
                    f"Everyone in {town} knew {name}, the {trade}.",
                )
            ),
            words.pick(
                (
                    f"One {words.pick(SEASONS)} morning {she} found {a(colour)} {thing} "
                    f"near {place}.",
                    f"{sentence(she)} owned little, but {she} was proud of {her} {colour} {thing}.",
                    f"On {words.pick(DAYS)}s {she} walked to {place} and thought about nothing.",
                )
            ),
            f"That day {words.pick(WEATHER)}, and {words.pick(_OMENS)}.",
        ],
        [
            words.pick(
                (
                    f"Then {a(animal)} came out of the shadows and looked at {her_to}.",
                    f"At {place}, {a(animal)} sat in the middle of the path.",
                    f"Behind the door something moved. It was {a(animal)}.",
                )
            ),
            f'"{words.pick(_SPOKEN)}" said {name}.',
            f"The {animal} {words.pick(_REACTIONS)}.",
            words.pick(_TURNS).format(name=name, she=she, her=her, thing=thing, animal=animal),
        ],
        [event(words) for _ in range(words.number(2, 4))],
        [
            words.pick(_ENDS).format(
                name=name, She=sentence(she), she=she, her=her, thing=thing, animal=animal
            ),
            words.pick(_MORALS).format(town=town, name=name, trade=trade),
        ],
    ]


def event(words: Words) -> str:
    """A sentence in which somebody does something somewhere, for a reason."""
    anyone = f"the {words.pick(_MOODS)} {words.pick((*TRADES, *ANIMALS))}"
    who = words.people(1)[0] if words.chance(30) else anyone
    what = f"{words.pick(_DEEDS)} {a(words.pick(_LOOKS))} {words.pick(OBJECTS)}"
    where = words.pick(("at", "near", "behind", "not far from")) + " " + words.pick(PLACES)
    reason = words.pick(_REASONS).format(
        trade=words.pick(TRADES), animal=words.pick(ANIMALS), thing=words.pick(OBJECTS)
    )
    shape = words.number(0, 2)
    if shape == 0:
        return sentence(f"{who} {what} {where}, {reason}.")
    if shape == 1:
        return sentence(f"{where} {who} {what}, {reason}.")
    return sentence(f"{words.pick(_TIMES)} {who} {what} {where}.")


_MOODS = (
    *("old", "young", "tired", "clever", "quiet", "proud", "curious", "tiny", "cheerful", "shy"),
    *("hungry", "careful", "lonely", "busy", "sleepy", "stubborn", "patient", "strange"),
)
_LOOKS = (
    *("silver", "wooden", "dusty", "painted", "forgotten", "strange", "warm", "wet", "plain"),
    *("heavy", "broken", "borrowed", "shining", "tiny", "crooked", "precious", "half-finished"),
)
_DEEDS = (
    *("carried", "found", "hid", "mended", "sold", "borrowed", "dropped", "painted", "buried"),
    *("wanted", "lost", "guarded", "drew", "cleaned", "asked for", "looked at", "pointed to"),
)
_REASONS = (
    "because the {trade} had asked for it",
    "although the {animal} was watching",
    "as if the {thing} were made of glass",
    "so that the {trade} would have something to do",
    "while the {animal} slept under the table",
    "for nobody had seen the {thing} since the spring",
    "and the {trade} never spoke of it again",
    "but the {animal} did not care",
)
_TIMES = (
    "an hour later",
    "at noon",
    "the same evening",
    "before anyone could answer,",
    "to everybody's surprise",
    "without a word",
    "when the clock struck six,",
)


_OMENS = (
    "the bells rang although it was no holiday",
    "nobody was in the street",
    "the river was higher than usual",
    "a ship had come in during the night",
    "the baker's window was still dark",
    "two strangers asked for the way",
)
_SPOKEN = (
    "What are you doing here?",
    "You must be hungry,",
    "I have seen you before, haven't I?",
    "Come in, it is warm inside,",
    "That is mine, I think,",
    "Do not be afraid,",
)
_REACTIONS = (
    "did not answer, of course, but it stayed",
    "turned its head as if it understood",
    "ran a few steps and waited",
    "lay down at the foot of the stairs",
    "made a small sound and looked towards the road",
)
_TURNS = (
    "So {name} followed the {animal}, with the {thing} under {her} arm.",
    "For a while {she} did not know what to do; then {she} laughed and sat down beside it.",
    "When {name} looked up again, the {thing} was gone.",
    "All at once {name} remembered where the {thing} had come from.",
    "{name} gave it half of {her} bread, and the {animal} ate without hurry.",
)
_ENDS = (
    "In the evening the {animal} was still there. {She} let it sleep beside the stove.",
    "They walked until dark. At the end of the road {name} found the {thing}, and a light in "
    "every window.",
    "The next day {she} told the children about the {animal}, and they wanted to hear it again.",
    "{She} never found out whose {thing} it was, but {she} kept it on the table by the window.",
    "By winter the two of them were friends, and the {thing} hung above the door.",
)
_MORALS = (
    "Since then the people of {town} say that a door left open lets in more than the cold.",
    "It was the best year of {name}'s life.",
    "Nobody believed the story, and everybody told it.",
    "If you pass through {town}, ask for the {trade}; you will be welcome.",
    "Some things are only lost until someone looks for something else.",
)
