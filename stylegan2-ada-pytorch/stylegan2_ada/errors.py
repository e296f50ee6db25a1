"""The one error that the person who started the run can mend."""


class UsageError(ValueError):
    """Raised when a setting or file cannot be used; one line: its name, its value, what would be valid."""
