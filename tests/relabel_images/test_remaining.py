"""With relabel=remaining a round judges what is left, and what was decided before still counts."""

from components.relabel_images.stage import Config, relabel_images
from components.shared.pool import pool_of
from tests.relabel_images.test_loop import begin, classifier, score


def judge(tmp_path, ledger, number, confidences, labels, ratio=3.0):
    config = Config(round=number, confidence_threshold=0.75, relabel="remaining", max_class_ratio=ratio)
    folder = score(tmp_path / f"p{number}", confidences, labels)
    return relabel_images(config, ledger, folder, classifier(0.5 - number / 10), "run")


def test_the_cap_counts_what_rounds_before_accepted(tmp_path):
    ledger, pool = begin(tmp_path, relabel="remaining"), [f"synthetic/{k:02}.png" for k in range(30)]
    labels = {image: "sagittal" if k < 10 else "coronal" for k, image in enumerate(pool)}
    sure = {image: 0.9 if k < 20 else 0.5 for k, image in enumerate(pool)}
    assert judge(tmp_path, ledger, 0, sure, labels, 1.0)["accepted"] == {"coronal": 10, "sagittal": 10}
    left = pool_of(ledger, 1, "remaining", pool)
    sealed = judge(tmp_path, ledger, 1, dict.fromkeys(left, 0.9), labels, 1.0)
    assert (sealed["pool"], sealed["newly_accepted"], sealed["capped"]) == (10, 0, 10)


def test_what_was_rejected_is_not_judged_again(tmp_path):
    ledger, pool = begin(tmp_path, relabel="remaining"), [f"synthetic/{k}.png" for k in range(4)]
    labels = dict(zip(pool, ("noise", "coronal", "sagittal", "coronal"), strict=True))
    sealed = judge(tmp_path, ledger, 0, dict(zip(pool, (0.9, 0.9, 0.9, 0.5), strict=True)), labels)
    assert (sealed["rejected"], sealed["newly_accepted"], sealed["below"]) == (1, 2, 1)
    assert pool_of(ledger, 1, "remaining", pool) == [pool[3]]
    assert pool_of(ledger, 1, "all", pool) == pool
