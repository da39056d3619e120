"""The errors that a user can mend: the command line prints their one sentence and exits with their code."""


class DesDisError(Exception):
    """Something the user can mend. The message is one sentence: what was wrong and what to do."""

    exit_code = 1


class InputError(DesDisError):
    """Wrong input or options: a missing folder, a damaged file, a value out of range."""

    exit_code = 2


class MissingExtra(InputError, ImportError):
    """A package is not installed that an extra of this one brings; see `missing_extra`."""


def missing_extra(needs: str, extra: str) -> MissingExtra:
    """The one sentence for it: `needs` ("LAS and LAZ need", "training needs"), and how to install it."""
    return MissingExtra(f"{needs} the extra {extra}: pip install 'desdis-match[{extra}]'")


class NoModelError(DesDisError):
    """The work ran, but no reconstruction formed. The message says which stage starved."""

    exit_code = 3
