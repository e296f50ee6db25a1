"""The shortcut audit: what a finding may lead to, and where it is told."""

STOP, WARN, OFF = "stop", "warn", "off"
MODES = (STOP, WARN, OFF)
FINDINGS = "audit.json"
