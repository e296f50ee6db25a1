"""What stops a run: a setting that its user can mend, or a training that went wrong."""


class UsageError(ValueError):
    """Raised when a setting or file cannot be used; one line: its name, its value, what would be valid."""


def require(holds: bool, name: str, value: object, valid: str, why: str = "not possible") -> None:
    """Raise UsageError unless a condition on a value holds."""
    if not holds:
        raise UsageError(f"{name}={value}: {why}; valid: {valid}")


class DivergenceError(FloatingPointError):
    """Raised when a loss or weight is no longer a number; the last checkpoint is from before."""


class CollapseError(RuntimeError):
    """Raised when the generator has made nearly the same image of every latent for several snapshots."""


class Stopped(SystemExit):
    """Raised when SIGTERM or Ctrl-C ended a run, its checkpoint written.

    The exit status is 143 (SIGTERM) or 130 (Ctrl-C).
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(128 + signal_number)
