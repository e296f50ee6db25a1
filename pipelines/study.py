"""The pipeline `study`: did the synthetic images help, by arms that differ in what a classifier is shown?

    validate - snapshot - extract - audit - split - open_study
        arms A, B, C of every fold, fraction and seed
        the GANs of every fold, their images, and what these are worth
        arms D, E, F, G, which begin with C's classifier
    close_study - settle_study

Arms with a pool also publish the best of several rounds, where the others train once. Volumes are cut once,
a fold's images are made once. A part that fails leaves its reason and ends green; the report names it, and
settle_study fails the run once it is written.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

from kfp import dsl

from components.anything_new.component import keep_finished
from components.audit_shortcuts.component import audit_shortcuts
from components.close_study.component import close_study, settle_study
from components.make_synthetic.component import make_synthetic
from components.open_study.component import list_cells, list_sources, open_study, validate_study
from components.run_arm.component import run_arm
from components.shared.study import BASELINE, PSEUDO
from components.split_patients.component import split_patients
from pipelines.planes import cut_planes
from pipelines.tasks import GPU, identity, knowing_names, lasting, on_gpu, sized, uncached

_ENCLOSING = ("all_cells", "all_sources", "parallelism", "pods")  # which `locals` shows too


@dsl.pipeline(name="some-cells")
def some_cells(
    cells: str,
    state_uri: str,
    run: str,
    owner: str,
    gpu_count: str,
    gpu_type: str,
    gpu_cpu: str,
    gpu_memory: str,
    gpu_node_selector: dict,
    gpu_tolerations: list,
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
) -> None:
    """Run the cells of one pod on a GPU node.

    It needs a pipeline of its own: in a loop's body kfp.local does not find the parameters that place a task.
    """
    p = SimpleNamespace(**locals())
    told = {name: value for name, value in vars(p).items() if name not in GPU}
    on_gpu(run_arm(**told), p, cached=False)


@dsl.pipeline(name="some-sources")
def some_sources(
    sources: str,
    state_uri: str,
    run: str,
    owner: str,
    gan_checkpoint_kimg: float,
    gpu_count: str,
    gpu_type: str,
    gpu_cpu: str,
    gpu_memory: str,
    gpu_node_selector: dict,
    gpu_tolerations: list,
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
) -> None:
    """Train the GANs of one pod on a GPU node and sample them."""
    p = SimpleNamespace(**locals())
    told = {name: value for name, value in vars(p).items() if name not in GPU}
    on_gpu(make_synthetic(**told), p, cached=False)


def cells_at(parallelism: int) -> Any:
    """Return the pipeline that runs the cells of each pod, so many pods at a time."""

    @dsl.pipeline(name="all-cells")
    def all_cells(
        pods: list[str],
        state_uri: str,
        run: str,
        owner: str,
        gpu_count: str,
        gpu_type: str,
        gpu_cpu: str,
        gpu_memory: str,
        gpu_node_selector: dict,
        gpu_tolerations: list,
        planes: dsl.Input[dsl.Dataset],
        splits: dsl.Input[dsl.Artifact],
    ) -> None:
        shared = {name: value for name, value in locals().items() if name not in _ENCLOSING}
        with dsl.ParallelFor(pods, parallelism=parallelism) as cells:
            some_cells(cells=cells, **shared)

    return all_cells


def sources_at(parallelism: int) -> Any:
    """Return the pipeline that makes each pod's sets of synthetic images, so many pods at a time."""

    @dsl.pipeline(name="all-sources")
    def all_sources(
        pods: list[str],
        state_uri: str,
        run: str,
        owner: str,
        gan_checkpoint_kimg: float,
        gpu_count: str,
        gpu_type: str,
        gpu_cpu: str,
        gpu_memory: str,
        gpu_node_selector: dict,
        gpu_tolerations: list,
        planes: dsl.Input[dsl.Dataset],
        splits: dsl.Input[dsl.Artifact],
    ) -> None:
        shared = {name: value for name, value in locals().items() if name not in _ENCLOSING}
        with dsl.ParallelFor(pods, parallelism=parallelism) as sources:
            some_sources(sources=sources, **shared)

    return all_sources


class Findings(NamedTuple):
    """What the pipeline returns."""

    page: dsl.HTML
    result: dsl.Artifact
    doubtful: dsl.Artifact


def study_of(parallelism: int) -> Any:
    """Return the pipeline, with so many cells, and so many GANs, at a time.

    KFP fixes the width of a loop when it compiles.
    """
    all_cells, all_sources = cells_at(parallelism), sources_at(parallelism)

    @dsl.pipeline(name="study", display_name="Did the synthetic images help?")
    def study(
        volumes_uri: str,
        state_uri: str,
        run_name: str = "",
        patient_pattern: str = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$",
        pseudonym_key_uri: str = "",
        forget_patient: str = "",
        missing_geometry: str = "refuse",
        plane_angles_deg: list[float] = [-20, -15, -10, -5, 0, 5, 10, 15, 20],  # noqa: B006
        plane_spacing_mm: float = 1.0,
        field_of_view: str = "sphere",
        field_of_view_mm: float = 120.0,
        noise_rule: str = "content",
        noise_max_content: float = 0.02,
        anatomy_min_content: float = 0.10,
        noise_index_planes: int = 20,
        extract_shards: int = 1,
        audit: str = "stop",
        classifier: str = "convnext_tiny",
        epochs: int = 7,
        image_size_px: int = 192,
        pretrained_uri: str = "",
        label_fractions: list[float] = [0.2, 0.5],  # noqa: B006
        label_unit: str = "patient",
        arms: str = "ABCDEFG",
        folds: int = 5,
        seeds: int = 3,
        gans: int = 3,
        worthwhile_gain: float = 0.02,
        gan_kimg: float = 1200.0,
        gan_resolution: int = 256,
        gan_gamma: float = 25.0,
        gan_batch: int = 0,
        gan_channel_base: int = 0,
        gan_mirror: bool = True,
        gan_augment: str = "bg",
        gan_resume_uri: str = "",
        gan_checkpoint_kimg: float = 0.0,
        images: int = 16000,
        truncations: list[float] = [0.5, 1.0],  # noqa: B006
        max_copy_rate: float = 0.01,
        inception_uri: str = "",
        expert_labels_uri: str = "",
        confidence_threshold: float = 0.75,
        threshold_rule: str = "global",
        max_class_ratio: float = 3.0,
        max_rounds: int = 5,
        patience: int = 1,
        min_gain: float = 0.0,
        relabel: str = "all",
        language: str = "en",
        cpu: str = "2",
        memory: str = "8Gi",
        gpu_count: str = "1",
        gpu_type: str = "nvidia.com/gpu",
        gpu_cpu: str = "4",
        gpu_memory: str = "16Gi",
        gpu_node_selector: dict = {"cloud.google.com/gke-accelerator": "nvidia-l4"},  # noqa: B006
        gpu_tolerations: list = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],  # noqa: B006
        seed: int = 0,
    ) -> Findings:
        """Train every arm on some patients, test it on others, and say what the synthetic images did.

        Args:
            volumes_uri: Folder, gs:// or s3://bucket/prefix with NRRD volumes; may end in a glob.
            state_uri: Folder, gs:// or s3://bucket/prefix for splits, cells and checkpoints.
            run_name: Name of the run's ledger; empty names the run by its contents.
            patient_pattern: Regular expression on the file name with a group `patient`.
            pseudonym_key_uri: File with the key of pseudonyms; empty takes the Secret, or the state's own.
            forget_patient: Pseudonym of a patient to remove, with whatever descends from them.
            missing_geometry: What volumes without orientation are taken for; refuse, LPS, RAS or symmetry.
            plane_angles_deg: Angles of the planes about the superior-inferior axis, symmetric, 0 among them.
            plane_spacing_mm: Distance between neighbouring planes.
            field_of_view: What planes show; sphere, disc (always alike) or full (its border tells the class).
            field_of_view_mm: Side of the square window of every plane.
            noise_rule: What makes planes noise; content (share of tissue) or index (outermost: the notebook).
            noise_max_content: Share of the disc that is tissue, up to which a plane is noise.
            anatomy_min_content: Share of tissue in the disc that makes anatomy; less is kept aside, or noise.
            noise_index_planes: Outermost planes at each end of a volume that noise_rule=index calls noise.
            extract_shards: Pods that share the volumes when planes are cut.
            audit: What happens when a class can be read without anatomy; stop, warn or off.
            classifier: Network that tells planes apart; convnext_tiny or resnet18.
            epochs: Passes of a classifier's fine-tuning over its planes.
            image_size_px: Side of the images that the classifier sees.
            pretrained_uri: State dict that classifiers start from, classifier.json beside it; empty: none.
            label_fractions: Shares of the training patients (or planes) with labels; the first is tested.
            label_unit: What label_fractions count; patient (whole patients) or plane (the notebooks).
            arms: Letters of the study's arms; D, E, F and G need C.
            folds: Folds of patients, of five, that the study tests in turn.
            seeds: Trainings of every cell of the study.
            gans: GANs of every fold, which the seeds take in turn; with one nothing is called shown.
            worthwhile_gain: Gain of balanced accuracy for which the patients needed are told.
            gan_kimg: Length of GAN training in thousands of images.
            gan_resolution: Side of the synthetic images in pixels, a power of two.
            gan_gamma: R1 weight of the GAN; 0 takes the formula of its configuration.
            gan_batch: Batch size of the GAN; 0 takes the formula of its configuration.
            gan_channel_base: Width of the GAN's networks; 0 takes the formula of its configuration.
            gan_mirror: Whether the GAN also sees mirrored planes.
            gan_augment: Adaptive augmentation of the GAN; none, bg or bgc.
            gan_resume_uri: Folder of a generator that the GAN starts from; empty: from scratch.
            gan_checkpoint_kimg: Thousands of images between GAN checkpoints; 0 goes by the clock.
            images: Synthetic images in all, over every truncation.
            truncations: Truncation psi values that share the synthetic images.
            max_copy_rate: Share of images that copy a training plane, above which copies are dropped.
            inception_uri: Feature network (.pt, .pt2) for FID and KID; empty takes the classifier's.
            expert_labels_uri: A study's doubtful.csv with an expert's labels, which no round overrules.
            confidence_threshold: Confidence above which a pseudo-label is accepted, [0, 1).
            threshold_rule: Kind of threshold; global (notebook) or adaptive (lower for less known classes).
            max_class_ratio: Most accepted images of one class to one of the other; the surest are kept.
            max_rounds: Most rounds with pseudo-labels, after round 0.
            patience: Rounds without gain on the validation patients before stopping.
            min_gain: Fall of the validation loss that counts as a gain, in nats.
            relabel: What a round judges; all (the whole pool each round) or remaining (the notebook).
            language: Language of the report; en or es.
            cpu: Cores that a task on volumes asks for, e.g. 2 or 500m.
            memory: Memory that a task on volumes asks for and may use, e.g. 8Gi.
            gpu_count: GPUs of a GPU task, as text; a stage uses one, 0 is for nodes without.
            gpu_type: Resource name of the GPUs.
            gpu_cpu: Cores that a GPU task asks for, e.g. 4.
            gpu_memory: Memory that a GPU task asks for and may use, e.g. 16Gi.
            gpu_node_selector: Labels of the nodes that GPU tasks run on.
            gpu_tolerations: Tolerations of GPU tasks, for their nodes' taints.
            seed: Seed of everything random.

        """
        p = SimpleNamespace(**{name: value for name, value in locals().items() if name not in _ENCLOSING})
        checked = uncached(knowing_names(validate_study(**vars(p))))
        snapshot, planes = cut_planes(p, checked, forget_patient=forget_patient)
        audited = sized(lasting(audit_shortcuts(planes=planes, audit=audit, seed=seed)), p)
        # After the audit: where a class can be read without anatomy, nothing is worth a GPU.
        split = uncached(split_patients(state_uri=state_uri, planes=planes).after(audited))
        splits = split.outputs["splits"]
        run = uncached(
            open_study(
                state_uri=state_uri,
                run_name=run_name,
                fingerprint=checked.outputs["fingerprint"],
                snapshot_digest=snapshot.output,
                parameters=checked.outputs["parameters"],
                planes=planes,
                splits=splits,
            )
        ).output
        state = {"state_uri": state_uri, "run": run}
        inputs = {"planes": planes, "splits": splits, **state}
        shared = {**inputs, **{name: getattr(p, name) for name in GPU}}
        shared["owner"] = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        first, then = (uncached(list_cells(step=step, **state)).output for step in (BASELINE, PSEUDO))
        baseline = all_cells(pods=first, **shared)
        # After the baseline arms: the features of their classifiers tell how near images are to planes.
        listed = uncached(list_sources(**state)).output
        made = all_sources(pods=listed, gan_checkpoint_kimg=gan_checkpoint_kimg, **shared).after(baseline)
        pseudo = all_cells(pods=then, **shared).after(made)
        closed = uncached(
            close_study(
                parameters=checked.outputs["parameters"],
                findings=audited.outputs["findings"],
                snapshot_digest=snapshot.output,
                language=language,
                **inputs,
            ).after(pseudo)
        )
        settled = uncached(settle_study(study=closed.outputs["result"], state_uri=state_uri, run=run))
        finished = keep_finished(snapshot_digest=snapshot.output, **identity("study", p, checked))
        uncached(finished.after(settled))
        outputs = closed.outputs
        return Findings(page=outputs["page"], result=outputs["result"], doubtful=outputs["doubtful"])

    return study
