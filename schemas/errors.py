"""Every error that a user can meet, in one tree.

The text of an error says what is wrong, what was found and what to do next. The command line maps
`exit_code` to the process's exit status and prints the text without a traceback; nothing else
prints.
"""


class PotstillError(Exception):
    """The root: an error with an exit code, and a text that a user can act on."""

    exit_code = 2


class DamagedError(PotstillError):
    """The thing checked is bad: a shard altered, cut short or missing; a failed self-test."""

    exit_code = 1


class InputError(PotstillError):
    """The user's input is wrong: a path, a model name, a corpus row, a column."""

    exit_code = 2


class ConfigError(InputError):
    """An option, a YAML key or a value of one is wrong, or two of them contradict each other."""


class CorpusError(InputError):
    """A corpus cannot be read: its message names the file and the line."""


class ModelError(InputError):
    """A teacher or a student cannot be loaded, or does not fit what it is used with."""


class FormatError(InputError):
    """A folder is no dump, an unfinished one, or one of a format version we do not know."""


class MismatchError(InputError):
    """Two things that must agree do not; the message shows both values, field by field."""


class ConflictError(PotstillError):
    """Another process holds the lock, or the target exists and differs."""

    exit_code = 3


class SetAsideError(PotstillError):
    """The work is finished, but samples were set aside."""

    exit_code = 4


class TemporaryError(PotstillError):
    """A store or the network failed: the same command may succeed later."""

    exit_code = 5


class StoppedError(PotstillError):
    """Somebody asked to stop (Ctrl-C, SIGTERM); what was done is kept, the message says how on."""

    exit_code = 130
