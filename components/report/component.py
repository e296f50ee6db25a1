"""KFP interface of report."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def report(
    parameters: dsl.Input[dsl.Artifact],
    planes: dsl.Input[dsl.Dataset],
    findings: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Artifact],
    generator: dsl.Input[dsl.Model],
    synthetic: dsl.Input[dsl.Dataset],
    supervised: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    snapshot_digest: str,
    state_uri: str,
    run: str,
    language: str,
    page: dsl.Output[dsl.HTML],
    result: dsl.Output[dsl.Artifact],
    doubtful: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Write the one honest report: report.html, metrics.json and the figures of the KFP UI."""
    import tempfile
    from pathlib import Path

    from components.report.gather import Artifacts, flat_metrics, gather
    from components.report.previous import remember
    from components.report.stage import report
    from components.shared.ledger import Ledger
    from components.shared.progress import stage

    with stage("report"), tempfile.TemporaryDirectory() as folder:
        artifacts = Artifacts(
            parameters=Path(parameters.path),
            planes=Path(planes.path),
            findings=Path(findings.path),
            splits=Path(splits.path),
            generator=Path(generator.path),
            synthetic=Path(synthetic.path),
            supervised=Path(supervised.path),
            evaluation=Path(evaluation.path),
        )
        inputs = gather(artifacts, Ledger(state_uri=state_uri, run=run), snapshot_digest, Path(folder))
        found = report(inputs, Path(page.path), Path(result.path), Path(doubtful.path), language)
        remember(state_uri, found)
        for name, value in flat_metrics(found).items():
            metrics.log_metric(name, value)
        best = found["models"][found["best_round"]]["confusion"]
        confusion.log_confusion_matrix(best["classes"], best["matrix"])
