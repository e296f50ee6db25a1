"""The form's values as tests send them: defaults, but for what a test changes."""

from components.validate_parameters.stage import Parameters


def given(volumes, **changes):
    return Parameters(**{"volumes_uri": str(volumes), "state_uri": "state", **changes})
