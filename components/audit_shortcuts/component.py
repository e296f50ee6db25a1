"""KFP interface of audit_shortcuts."""

from kfp import dsl

from components.shared.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def audit_shortcuts(
    planes: dsl.Input[dsl.Dataset],
    audit: str,
    seed: int,
    findings: dsl.Output[dsl.Artifact],
) -> None:
    """Make sure that no class can be told from volumes without anatomy."""
    from pathlib import Path

    from components.audit_shortcuts.stage import Config, audit_shortcuts
    from components.shared.progress import stage

    with stage("audit_shortcuts") as progress:
        found = audit_shortcuts(
            Config(audit=audit, seed=seed), Path(planes.path), Path(findings.path), progress
        )
        findings.metadata["verdict"] = found["verdict"]
