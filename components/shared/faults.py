"""Errors that the person who started the run can mend."""


class InputError(ValueError):
    """Raised when a parameter, file or artifact cannot be used.

    The message is one line: the name of the parameter or file, its value, and what would be valid.
    """


class ForgottenError(InputError):
    """Raised for patients who are forgotten: its message names them, so it is kept nowhere."""


class AwayError(ConnectionError):
    """Raised for a store that does not answer, however often it is asked; its message is one line too.

    It says nothing of the file or part that it was asked for, so it is no InputError.
    """


class AbsentError(FileNotFoundError):
    """Raised for an object that is not there; its message is one line too."""


def shown(value: object) -> str:
    """Return a value as a message's one line can hold it, quoted where something in it cannot be seen."""
    text = str(value)
    return text if text.isprintable() and text == text.strip() else repr(text)
