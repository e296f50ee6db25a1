"""The pipeline `augmentation`: do GAN-made, pseudo-labelled images improve a classifier of brain planes?

    validate - snapshot - extract - audit - split -+
        +------------------------------------------+
        +- train_classifier (all labels) ------+----------------+
        +- train_gan - generate_images - judge_synthetic -+      |
        +- label fraction --------------------------------+- rounds 0..N - evaluate - report

The same graph runs on a laptop (kfp.local) and on Kubernetes. v2 has no while loop: the rounds are a
ParallelFor of parallelism 1 over 0..max_rounds whose gate reads the ledger; a round that is sealed or not
wanted costs one cheap task.
"""

from types import SimpleNamespace
from typing import NamedTuple

from kfp import dsl

from components.anything_new.component import keep_finished
from components.audit_shortcuts.component import audit_shortcuts
from components.classify_images.component import classify_images
from components.close_rounds.component import close_rounds
from components.evaluate.component import evaluate
from components.generate_images.component import generate_images
from components.judge_synthetic.component import judge_synthetic
from components.open_ledger.component import open_ledger
from components.open_round.component import list_rounds, open_round
from components.relabel_images.component import relabel_images
from components.report.component import report
from components.split_patients.component import split_patients
from components.train_classifier.component import train_classifier, train_round
from components.train_gan.component import find_generator, keep_generator, train_gan
from components.validate_parameters.component import validate_parameters
from pipelines.planes import cut_planes
from pipelines.tasks import GPU, Channel, identity, knowing_names, lasting, on_gpu, sized, uncached


@dsl.pipeline(name="one-round")
def one_round(
    go: str,
    number: int,
    state_uri: str,
    run: str,
    owner: str,
    architecture: str,
    epochs: int,
    image_size_px: int,
    pretrained_uri: str,
    label_fraction: float,
    label_unit: str,
    confidence_threshold: float,
    threshold_rule: str,
    max_class_ratio: float,
    relabel: str,
    gpu_count: str,
    gpu_type: str,
    gpu_cpu: str,
    gpu_memory: str,
    gpu_node_selector: dict,
    gpu_tolerations: list,
    seed: int,
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    synthetic: dsl.Input[dsl.Dataset],
) -> None:
    """Train, classify and relabel, if the gate said so.

    The condition needs a pipeline of its own: kfp.local skips one on a task of the same graph.
    """
    p = SimpleNamespace(**locals())
    turn = {"number": number, "state_uri": state_uri, "run": run}
    with dsl.If(go == "go"):
        labelled = {"label_fraction": label_fraction, "label_unit": label_unit, "owner": owner}
        settings = {name: getattr(p, name) for name in ("architecture", "epochs", "image_size_px")}
        trained = train_round(
            planes=planes,
            splits=splits,
            synthetic=synthetic,
            pretrained_uri=pretrained_uri,
            seed=seed,
            **turn,
            **labelled,
            **settings,
        )
        classifier = on_gpu(trained, p, cached=False).outputs["classifier"]
        scored = classify_images(
            synthetic=synthetic, classifier=classifier, owner=owner, relabel=relabel, **turn
        )
        predictions = on_gpu(scored, p, cached=False).outputs["predictions"]
        sealed = relabel_images(
            predictions=predictions,
            classifier=classifier,
            owner=owner,
            confidence_threshold=confidence_threshold,
            threshold_rule=threshold_rule,
            max_class_ratio=max_class_ratio,
            relabel=relabel,
            **turn,
        )
        uncached(sealed)


def classifier_settings(p: SimpleNamespace) -> dict[str, Channel]:
    """Return what the baseline and every round share."""
    names = ("epochs", "image_size_px", "pretrained_uri", "seed")
    return {"architecture": p.classifier, **{name: getattr(p, name) for name in names}}


def synthesise(
    p: SimpleNamespace,
    planes: Channel,
    splits: Channel,
    opened: dsl.PipelineTask,
    snapshot: Channel,
    weights: Channel,
) -> tuple[Channel, Channel, dsl.PipelineTask]:
    """Train the GAN and sample it, once the ledger is open; return generator, images and its keeper."""
    kept = {"state_uri": p.state_uri, "snapshot_digest": snapshot}
    size = {"resolution": p.gan_resolution, "channel_base": p.gan_channel_base}
    warmth = {"warm_start": p.warm_start, "warm_start_kimg": p.warm_start_kimg}
    of = {"planes": planes, "splits": splits}
    found = find_generator(kimg=p.gan_kimg, resume_uri=p.gan_resume_uri, **of, **warmth, **size, **kept)
    start = uncached(found.after(opened)).outputs
    names = ("gamma", "batch", "mirror", "augment", "checkpoint_kimg")
    settings = {name: getattr(p, f"gan_{name}") for name in names}
    begun = {"kimg": start["kimg"], "resume_uri": start["resume_uri"], "weights": weights}
    inputs = {**of, "state_uri": p.state_uri, "seed": p.seed}
    gan = train_gan(**inputs, **begun, **size, **settings)
    generator = on_gpu(gan, p).outputs["generator"]
    keeping = uncached(keep_generator(generator=generator, **kept))
    sampled = generate_images(
        generator=generator, splits=splits, truncations=p.truncations, images=p.images, seed=p.seed
    )
    return generator, on_gpu(sampled, p).outputs["synthetic"], keeping


def judge(p: SimpleNamespace, **inputs: Channel) -> Channel:
    """Measure the synthetic images against training planes, and return those that are kept."""
    settings = {name: getattr(p, name) for name in ("max_copy_rate", "inception_uri", "seed")}
    return on_gpu(judge_synthetic(**inputs, **settings), p).outputs["kept"]


@dsl.pipeline(name="all-rounds")
def all_rounds(
    numbers: list[int],
    state_uri: str,
    run: str,
    owner: str,
    architecture: str,
    epochs: int,
    image_size_px: int,
    pretrained_uri: str,
    label_fraction: float,
    label_unit: str,
    confidence_threshold: float,
    threshold_rule: str,
    max_class_ratio: float,
    relabel: str,
    gpu_count: str,
    gpu_type: str,
    gpu_cpu: str,
    gpu_memory: str,
    gpu_node_selector: dict,
    gpu_tolerations: list,
    seed: int,
    planes: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Artifact],
    synthetic: dsl.Input[dsl.Dataset],
) -> None:
    """Try every round in turn; the gate decides which are done.

    The loop needs a pipeline of its own: kfp.local hands the loop's item to every input of its body that is
    another task's output; inputs of the enclosing pipeline it leaves alone.
    """
    shared = {name: value for name, value in locals().items() if name != "numbers"}
    with dsl.ParallelFor(numbers, parallelism=1) as number:
        gate = uncached(open_round(number=number, state_uri=state_uri, run=run, owner=owner))
        one_round(go=gate.output, number=number, **shared)


class Findings(NamedTuple):
    """What the pipeline returns."""

    page: dsl.HTML
    result: dsl.Artifact
    doubtful: dsl.Artifact


@dsl.pipeline(name="augmentation", display_name="GAN augmentation of brain planes")
def augmentation(
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
    label_fraction: float = 0.2,
    label_unit: str = "plane",
    gan_kimg: float = 1200.0,
    gan_resolution: int = 256,
    gan_gamma: float = 25.0,
    gan_batch: int = 0,
    gan_channel_base: int = 0,
    gan_mirror: bool = True,
    gan_augment: str = "bg",
    gan_resume_uri: str = "",
    gan_checkpoint_kimg: float = 0.0,
    warm_start: bool = False,
    warm_start_kimg: float = 200.0,
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
    """Extract planes, train classifier and GAN, pseudo-label in rounds, evaluate on unseen patients, report.

    Args:
        volumes_uri: Folder, gs:// or s3://bucket/prefix with NRRD volumes; may end in a glob.
        state_uri: Folder, gs:// or s3://bucket/prefix for what outlives a run: splits, ledger, checkpoints.
        run_name: Name of the run's ledger; empty names the run by its contents.
        patient_pattern: Regular expression on the file name with a group `patient`.
        pseudonym_key_uri: File with the secret key of pseudonyms; empty takes the Secret, or the state's own.
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
        label_fraction: Share of the training planes (or patients) whose label is used, (0, 1].
        label_unit: What label_fraction counts; plane or patient.
        gan_kimg: Length of GAN training in thousands of images.
        gan_resolution: Side of the synthetic images in pixels, a power of two.
        gan_gamma: R1 weight of the GAN; 0 takes the formula of its configuration.
        gan_batch: Batch size of the GAN; 0 takes the formula of its configuration.
        gan_channel_base: Width of the GAN's networks; 0 takes the formula of its configuration.
        gan_mirror: Whether the GAN also sees mirrored planes.
        gan_augment: Adaptive augmentation of the GAN; none, bg or bgc.
        gan_resume_uri: Folder of a generator that the GAN starts from; empty: from scratch.
        gan_checkpoint_kimg: Thousands of images between GAN checkpoints; 0 goes by the clock.
        warm_start: Whether the GAN starts from the last generator of an earlier run on this state_uri.
        warm_start_kimg: Length of GAN training in thousands of images where warm_start finds one.
        images: Synthetic images in all, over every truncation.
        truncations: Truncation psi values that share the synthetic images.
        max_copy_rate: Share of synthetic images that copy a training plane, above which copies are dropped.
        inception_uri: Feature network (.pt, .pt2) for FID and KID; empty takes the classifier's.
        expert_labels_uri: A report's doubtful.csv with an expert's labels, which no round overrules.
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
    p = SimpleNamespace(**locals())
    checked = uncached(knowing_names(validate_parameters(**vars(p))))
    snapshot, planes = cut_planes(p, checked, forget_patient=forget_patient)
    audited = sized(lasting(audit_shortcuts(planes=planes, audit=audit, seed=seed)), p)
    # After the audit: where a class can be read without anatomy, nothing is worth a GPU.
    # Cached, so that what is trained on the sides is taken from the cache too: open_ledger holds them to the
    # state in every run.
    split = split_patients(state_uri=state_uri, planes=planes).after(audited)
    splits = lasting(split).outputs["splits"]
    opened = open_ledger(
        state_uri=state_uri,
        run_name=run_name,
        fingerprint=checked.outputs["fingerprint"],
        snapshot_digest=snapshot.output,
        parameters=checked.outputs["parameters"],
        planes=planes,
        splits=splits,
    )
    state = {"state_uri": state_uri, "run": uncached(opened).output}
    # After the ledger, which refuses a labelled fraction that is too small: before any GPU is asked for.
    shared = {"planes": planes, "splits": splits, "weights": checked.outputs["weights"]}
    supervised = train_classifier(**shared, **classifier_settings(p)).after(opened)
    trained = on_gpu(supervised, p).outputs["classifier"]
    generator, made, keeping = synthesise(p, opened=opened, snapshot=snapshot.output, **shared)
    synthetic = judge(p, synthetic=made, classifier=trained, **shared)
    thresholds = ("confidence_threshold", "threshold_rule", "max_class_ratio")
    names = ("label_fraction", "label_unit", *thresholds, "relabel", *GPU)
    owner = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    rounds = all_rounds(
        numbers=lasting(list_rounds(max_rounds=max_rounds).after(checked)).output,
        owner=owner,
        planes=planes,
        splits=splits,
        synthetic=synthetic,
        **state,
        **classifier_settings(p),
        **{name: getattr(p, name) for name in names},
    )
    real = {"planes": planes, "splits": splits, "supervised": trained}
    closed = close_rounds(supervised=trained, owner=owner, **state).after(rounds)
    evaluated = evaluate(rounds_digest=uncached(closed).output, **real, **state)
    written = report(
        parameters=checked.outputs["parameters"],
        generator=generator,
        synthetic=synthetic,
        findings=audited.outputs["findings"],
        evaluation=on_gpu(evaluated, p).outputs["evaluation"],
        snapshot_digest=snapshot.output,
        language=language,
        **real,
        **state,
    )
    uncached(written)
    told = identity("augmentation", p, checked)
    uncached(keep_finished(snapshot_digest=snapshot.output, **told).after(written, keeping))
    outputs = written.outputs
    return Findings(page=outputs["page"], result=outputs["result"], doubtful=outputs["doubtful"])
