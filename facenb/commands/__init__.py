"""The commands of `facenb`, a module each; `facenb.cli` lists them.

A command module holds its words and its options, imports nothing heavy (help is instant) and offers

    NAME        what one types after `facenb`
    SHORT       half a line for the list of commands
    ABOUT       what it does, lines of at most 100 characters
    EXAMPLES    lines to copy
    Config      a frozen dataclass, its fields annotated with `facenb.config.Option`
    run(config) does it, with its imports inside; returns the exit code, None for 0

`run` raises ValueError or OSError, with one clear line for the user, where the input will not do.
"""
