"""A pipeline behind a gate, as it is scheduled: a run with nothing to do ends green at once and says why.

    validate - anything_new - (the pipeline, whose last task leaves the mark, if anything is)

A task is two pods one after the other, and a gate is to take less than a minute: it lists the volumes itself,
as the pipeline does once more behind it. KFP's cache would skip the stages on GPUs as well, yet start a pod
for every task that looks at the state. The gated pipeline returns nothing: out of a condition KFP hands no
artifacts on. Its report is the task's own.
"""

import inspect
from types import SimpleNamespace
from typing import Any

from kfp import dsl

from components.anything_new.component import anything_new
from components.anything_new.stage import GO
from pipelines.catalogue import WHEN_NEW
from pipelines.tasks import Channel, identity, knowing_names, uncached

_VOLUMES = ("volumes_uri", "patient_pattern", "pseudonym_key_uri", "forget_patient")


def when_new(graph: Any, check: Any) -> Any:
    """Return a pipeline with the parameters of `graph`, which `check` checks, that runs it where it has to.

    KFP reads a form from a function's signature and docstring: the gated one borrows them.
    """
    signature = inspect.signature(graph.pipeline_func)

    def gated(*values: Channel) -> None:
        p = SimpleNamespace(**dict(zip(signature.parameters, values, strict=True)))
        checked = uncached(knowing_names(check(**vars(p))))
        listed = {name: getattr(p, name) for name in _VOLUMES}
        gate = uncached(knowing_names(anything_new(**identity(graph.name, p, checked), **listed)))
        with dsl.If(gate.output == GO):
            graph(**vars(p))

    gated.__signature__ = signature.replace(return_annotation=None)  # type: ignore[attr-defined]
    gated.__doc__ = graph.pipeline_func.__doc__
    title = f"{graph.pipeline_spec.pipeline_info.display_name}, when anything is new"
    return dsl.pipeline(gated, name=graph.name + WHEN_NEW, display_name=title)
