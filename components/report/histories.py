"""What a run went through: its rounds, and the training of its GAN."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from components.report import charts, pictures
from components.shared.planes import GAN_CLASSES

_CURVE_POINTS = 300  # a long history is thinned to so many


def round_chart(rounds: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw validation accuracy and loss, and the synthetic images trained on, by round."""

    def series(name: str, key: str, factor: float = 1.0, **look: Any) -> charts.Series:
        points = [(each["round"], None if each[key] is None else factor * each[key]) for each in rounds]
        return charts.Series(name=name, points=points, **look)

    taught = [
        charts.Series(
            name=label,
            points=[(each["round"], each["trained_on_pseudo"].get(label, 0)) for each in rounds],
            shape=shape,
            dashed=dashed,
        )
        for label, shape, dashed in zip(GAN_CLASSES, ("dot", "square"), (False, True), strict=True)
    ]
    return charts.curves(
        [
            charts.Panel(
                title="Validation accuracy (%)",
                x_label="round",
                whole_x=True,
                series=[
                    series("balanced", "validation_balanced_accuracy", 100),
                    series("plain", "validation_accuracy", 100, shape="square", dashed=True),
                ],
            ),
            charts.Panel(
                title="Validation loss (nats)",
                x_label="round",
                whole_x=True,
                series=[
                    series("mean of patients", "validation_patient_loss"),
                    series("mean of planes", "validation_loss", shape="square", dashed=True),
                ],
            ),
            charts.Panel(
                title="Synthetic images used",
                x_label="round",
                whole_x=True,
                zero=True,
                counts=True,
                series=taught,
            ),
        ],
        "Validation accuracy, validation loss and synthetic images trained on, by round",
    )


def history_chart(history: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Draw losses, gradient penalty and augmentation probability of the GAN; None without any."""
    entries = pictures.spread(history, _CURVE_POINTS)
    if not entries:
        return None

    def series(name: str, key: str, dashed: bool = False) -> charts.Series:
        points = [(entry["kimg"], entry.get(key)) for entry in entries]
        return charts.Series(name=name, points=points, dashed=dashed)

    label = "images shown (thousands)"
    return charts.curves(
        [
            charts.Panel(
                title="Loss",
                x_label=label,
                marked=False,
                series=[series("generator", "g_loss"), series("discriminator", "d_loss", dashed=True)],
            ),
            charts.Panel(
                title="Gradient penalty R1",
                x_label=label,
                marked=False,
                zero=True,
                series=[series("R1", "r1")],
            ),
            charts.Panel(
                title="Augmentation probability",
                x_label=label,
                marked=False,
                zero=True,
                series=[series("ADA p", "augment_p")],
            ),
        ],
        "History of the GAN: losses, gradient penalty and augmentation probability",
    )
