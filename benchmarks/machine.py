"""What a figure was measured on."""

import os
import platform
from typing import Any


def machine() -> dict[str, Any]:
    """Return the machine's cores and its processor."""
    return {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
