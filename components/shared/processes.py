"""Whether another process of this machine is still there."""

import os


def is_alive(process: int) -> bool:
    """Tell whether a process id belongs to a running process, ours or another user's."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
