"""Small Python functions with docstrings and examples that are true."""

from collections.abc import Callable, Sequence

from pipeline.quickstart_corpus_words import OBJECTS, SHE, THINGS, Words


def code(words: Words) -> str:
    """A module of one to three functions, each with an example in its docstring."""
    sorts = words.some(SORTS, words.number(1, 3))
    opening = f'"""{words.pick(_ABOUT)}"""\n\n\n' if words.chance(60) else ""
    return opening + "\n\n".join(sort(words) for sort in sorts)


_ABOUT = (
    "Helpers for lists of numbers.",
    "Small functions without dependencies.",
    "Tools that the report needs.",
    "Simple text and number routines.",
    "Functions used by the inventory.",
)


def _numbers(words: Words, count: int = 5) -> list[int]:
    return [words.number(-9, 30) for _ in range(count)]


def _documented(head: str, about: str, body: Sequence[str], example: tuple[str, object]) -> str:
    """A function with a docstring that ends in a doctest."""
    call, result = example
    lines = [
        head,
        f'    """{about}',
        "",
        f"    >>> {call}",
        f"    {result!r}",
        '    """',
        *(f"    {line}" for line in body),
    ]
    return "\n".join(lines) + "\n"


def _accumulate(words: Words) -> str:
    name, op, start, about = words.pick(
        (
            ("total", "+", 0, "Return the sum of the numbers that are"),
            ("product", "*", 1, "Return the product of the numbers that are"),
        )
    )
    limit, word = words.number(-3, 12), words.pick(("above", "below"))
    sign = ">" if word == "above" else "<"
    numbers = _numbers(words)
    value = start
    for n in numbers:
        if (n > limit) == (word == "above") and n != limit:
            value = value + n if op == "+" else value * n
    item = words.pick(("value", "number", "n", "item"))
    body = [
        f"result = {start}",
        f"for {item} in values:",
        f"    if {item} {sign} limit:",
        f"        result {op}= {item}",
        "return result",
    ]
    call = f"{name}_{word}({numbers}, {limit})"
    head = f"def {name}_{word}(values, limit):"
    return _documented(head, f"{about} {word} a limit.", body, (call, value))


def _extreme(words: Words) -> str:
    which = words.pick(("longest", "shortest"))
    things = words.some(THINGS, words.number(3, 5))
    sign = ">" if which == "longest" else "<"
    best = things[0]
    for thing in things[1:]:
        if (len(thing) > len(best)) if which == "longest" else (len(thing) < len(best)):
            best = thing
    body = [
        "best = words[0]",
        "for word in words[1:]:",
        f"    if len(word) {sign} len(best):",
        "        best = word",
        "return best",
    ]
    about = f"Return the {which} of the words; the first one wins a tie."
    return _documented(f"def {which}_word(words):", about, body, (f"{which}_word({things})", best))


def _counting(words: Words) -> str:
    letters = [words.pick("abcde") for _ in range(words.number(4, 7))]
    found: dict[str, int] = {}
    for letter in letters:
        found[letter] = found.get(letter, 0) + 1
    body = [
        "counts = {}",
        "for item in items:",
        "    counts[item] = counts.get(item, 0) + 1",
        "return counts",
    ]
    name = words.pick(("count_items", "tally", "frequencies"))
    about = words.pick(
        ("Count how often each item occurs.", "Return a dict from item to number of occurrences.")
    )
    return _documented(f"def {name}(items):", about, body, (f"{name}({letters})", found))


def _grouping(words: Words) -> str:
    names = words.some(SHE, 4)
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(len(name), []).append(name)
    body = [
        "groups = {}",
        "for word in words:",
        "    groups.setdefault(len(word), []).append(word)",
        "return groups",
    ]
    head = "def group_by_length(words):"
    example = (f"group_by_length({names})", groups)
    return _documented(head, "Group words by their length.", body, example)


def _conversion(words: Words) -> str:
    source, target, factor = words.pick(
        (
            ("minutes", "seconds", 60),
            ("hours", "minutes", 60),
            ("days", "hours", 24),
            ("weeks", "days", 7),
            ("kilometres", "metres", 1000),
            ("dozens", "pieces", 12),
        )
    )
    amount = words.number(2, 15)
    head = f"def {source}_to_{target}({source}):"
    body = [
        f"if {source} < 0:",
        f'    raise ValueError("{source} must not be negative")',
        f"return {source} * {factor}",
    ]
    about = f"Convert {source} to {target}."
    return _documented(head, about, body, (f"{source}_to_{target}({amount})", amount * factor))


def _recursion(words: Words) -> str:
    n = words.number(3, 9)
    if words.chance(50):
        value = 1
        for k in range(2, n + 1):
            value *= k
        body = ["if n <= 1:", "    return 1", "return n * factorial(n - 1)"]
        return _documented(
            "def factorial(n):", "Return n! for a whole number n.", body, (f"factorial({n})", value)
        )
    first, second = 0, 1
    for _ in range(n):
        first, second = second, first + second
    body = ["a, b = 0, 1", "for _ in range(n):", "    a, b = b, a + b", "return a"]
    about = "Return the n-th Fibonacci number, counting from 0."
    return _documented("def fibonacci(n):", about, body, (f"fibonacci({n})", first))


def _divisors(words: Words) -> str:
    n = words.number(6, 60)
    found = [d for d in range(1, n + 1) if n % d == 0]
    if words.chance(50):
        body = ["return [d for d in range(1, n + 1) if n % d == 0]"]
        return _documented(
            "def divisors(n):", "List the divisors of n in order.", body, (f"divisors({n})", found)
        )
    body = [
        "if n < 2:",
        "    return False",
        "for d in range(2, int(n**0.5) + 1):",
        "    if n % d == 0:",
        "        return False",
        "return True",
    ]
    example = (f"is_prime({n})", len(found) == 2)
    return _documented("def is_prime(n):", "Tell whether n is a prime number.", body, example)


def _text(words: Words) -> str:
    phrase = " ".join(words.some(OBJECTS, words.number(2, 4)))
    name, about, expression, value = words.pick(
        (
            ("reverse_words", "Reverse the order of words.", '" ".join(reversed(text.split()))',
             " ".join(reversed(phrase.split()))),
            ("initials", "Return the first letter of each word, in capitals.",
             '"".join(word[0].upper() for word in text.split())',
             "".join(word[0].upper() for word in phrase.split())),
            ("count_vowels", "Count the vowels in a text.",
             'sum(letter in "aeiou" for letter in text.lower())',
             sum(letter in "aeiou" for letter in phrase)),
            ("title_case", "Write every word with a capital letter.",
             '" ".join(word.capitalize() for word in text.split())',
             " ".join(word.capitalize() for word in phrase.split())),
            ("slug", "Turn a text into a name for a file.", 'text.lower().replace(" ", "-")',
             phrase.replace(" ", "-")),
        )
    )  # fmt: skip
    return _documented(
        f"def {name}(text):", about, [f"return {expression}"], (f"{name}({phrase!r})", value)
    )


def _running(words: Words) -> str:
    numbers = _numbers(words, words.number(3, 6))
    sums = [sum(numbers[: n + 1]) for n in range(len(numbers))]
    body = [
        "total = 0",
        "result = []",
        "for value in values:",
        "    total += value",
        "    result.append(total)",
        "return result",
    ]
    about = "Return the sums of the first one, two, three, … values."
    return _documented("def running_sums(values):", about, body, (f"running_sums({numbers})", sums))


def _clamp(words: Words) -> str:
    low, high, value = words.number(-5, 5), words.number(6, 20), words.number(-20, 40)
    body = ["if value < low:", "    return low", "if value > high:", "    return high",
            "return value"]  # fmt: skip
    result = max(low, min(high, value))
    about = "Limit a value to the range from low to high."
    call = (f"clamp({value}, {low}, {high})", result)
    return _documented("def clamp(value, low, high):", about, body, call)


def _chunks(words: Words) -> str:
    numbers, size = _numbers(words, words.number(4, 8)), words.number(2, 3)
    parts = [numbers[n : n + size] for n in range(0, len(numbers), size)]
    body = ["return [values[n : n + size] for n in range(0, len(values), size)]"]
    about = "Split a list into parts of the given size; the last one may be shorter."
    call = (f"chunks({numbers}, {size})", parts)
    return _documented("def chunks(values, size):", about, body, call)


def _account(words: Words) -> str:
    start, more, less = words.number(10, 90), words.number(5, 60), words.number(1, 9)
    verb = words.pick(("deposit", "add", "receive"))
    return "\n".join(
        [
            "class Account:",
            '    """An account that cannot be overdrawn.',
            "",
            f"    >>> account = Account({start})",
            f"    >>> account.{verb}({more})",
            f"    >>> account.withdraw({less})",
            "    >>> account.balance",
            f"    {start + more - less}",
            '    """',
            "",
            "    def __init__(self, balance=0):",
            "        self.balance = balance",
            "",
            f"    def {verb}(self, amount):",
            "        self.balance += amount",
            "",
            "    def withdraw(self, amount):",
            "        if amount > self.balance:",
            '            raise ValueError("not enough money")',
            "        self.balance -= amount",
            "",
        ]
    )


SORTS: tuple[Callable[[Words], str], ...] = (
    *(_accumulate, _extreme, _counting, _grouping, _conversion, _recursion, _divisors),
    *(_text, _running, _clamp, _chunks, _account),
)
