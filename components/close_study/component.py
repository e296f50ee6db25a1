"""KFP interfaces of a study's end: the report, then a failure if any arm failed."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def close_study(
    parameters: dsl.Input[dsl.Artifact],
    planes: dsl.Input[dsl.Dataset],
    findings: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Artifact],
    snapshot_digest: str,
    state_uri: str,
    run: str,
    language: str,
    page: dsl.Output[dsl.HTML],
    result: dsl.Output[dsl.Artifact],
    doubtful: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Compare the arms over patients; write the report, its numbers, and a table for an expert."""
    from pathlib import Path

    from components.report.study import Inputs, flat_metrics, report_study
    from components.shared import storage
    from components.shared.progress import stage

    with stage("close_study"):
        inputs = Inputs.open(
            parameters=Path(parameters.path),
            planes=Path(planes.path),
            findings=Path(findings.path),
            splits=Path(splits.path),
            snapshot=snapshot_digest,
            study_uri=storage.join(state_uri, run),
            run=run,
        )
        found = report_study(inputs, Path(page.path), Path(result.path), Path(doubtful.path), language)
        for name, value in flat_metrics(found).items():
            metrics.log_metric(name, value)


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def settle_study(study: dsl.Input[dsl.Artifact], state_uri: str, run: str) -> None:
    """Fail the run where an arm failed, once the report of the others is written."""
    import json
    from pathlib import Path

    from components.close_study.settle import settle
    from components.shared import storage
    from components.shared.progress import stage

    with stage("settle_study"):
        settle(json.loads(Path(study.path).read_text()), storage.join(state_uri, run, "report"))
