"""The container images that stages run in; images/ builds them, `compile --registry` prefixes them."""

CPU_IMAGE = "fontanelle-cpu:0.1.0"  # no torch
GPU_IMAGE = "fontanelle-gpu:0.1.0"
