"""StyleGAN2-ADA: train on a zip of images, generate from seeds.

The public names are those below; the modules hold the parts, each beside its equations.
"""

from stylegan2_ada.config import TrainingConfig, derived
from stylegan2_ada.errors import CollapseError, DivergenceError, Stopped, UsageError
from stylegan2_ada.generate import generate
from stylegan2_ada.training_loop import TrainingResult, train
from stylegan2_ada.weights import load_generator

__all__ = [
    "CollapseError",
    "DivergenceError",
    "Stopped",
    "TrainingConfig",
    "TrainingResult",
    "UsageError",
    "derived",
    "generate",
    "load_generator",
    "train",
]
