"""Every command on one screen."""

COMMANDS = {
    "quickstart": "The first ten minutes: a real teacher, dumped, distilled, reported on.",
    "dump": "Stage one: run the teacher once and write what it knows.",
    "nightly": "Dump what is new in a corpus since the last time, unattended.",
    "pause": "Make a running dump's workers wait, wherever they run.",
    "resume": "Let a paused dump go on.",
    "stop": "End a running dump's workers; what is finished is kept.",
    "augment": "New prompts for stage one, written by the teacher after seeds.",
    "train": "Stage two: train a student from a dump, the teacher gone.",
    "verify": "Prove a dump whole and aligned.",
    "inspect": "Show what is inside a dump, or one sample token by token.",
    "evaluate": "Measure a student on held-out rows of a dump.",
    "report": "One page: teacher beside student, curves, slices, disagreements.",
    "export-gguf": "Make an ordinary model folder out of a GGUF file.",
    "dataset push": "Copy a dump to a store or to the Hub; only what is missing there.",
    "dataset pull": "Copy a dump here; only what is missing or was altered.",
    "dataset merge": "Make one dump of several, each sample once.",
    "dataset subset": "Take some rows of a dump: by source, ids, verdict, length, share.",
    "dataset reencode": "Make a dump smaller: fewer entries, a higher threshold, fewer draws.",
    "dataset reshard": "Cut a dump into shards of another size.",
    "dataset import": "Convert another system's dump, with a report of its health.",
    "dataset export": "Write a dump in another system's layout.",
    "dataset diff": "Compare two dumps: settings, rows, and what their teachers say.",
    "examples": "Configuration files to start from.",
    "schema": "JSON Schema of a command's settings or of a dump's manifest.",
    "doctor": "What this machine has, and what to do about what it lacks.",
}
"""Every command and what it does; `x-y` and `x y` are the object SPEC of cli_x_y.py."""

GROUPS = {
    "dataset": "A dump as a dataset that teams share: move it, join it, cut it, compare it.",
}
"""First words of the commands that have two."""

PANELS = {
    "Two stages and what is between them": ("quickstart", "dump", "verify", "inspect", "train"),
    "Unattended": ("nightly", "pause", "resume", "stop"),
    "How good is the student?": ("evaluate", "report"),
    "Around it": ("augment", "dataset", "export-gguf", "examples", "schema", "doctor"),
}
