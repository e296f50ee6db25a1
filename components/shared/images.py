"""The container images of the stages; images/ builds them, `compile --registry --tag` places them."""

CPU_IMAGE = "fontanelle-cpu:0.1.0"  # no torch
GPU_IMAGE = "fontanelle-gpu:0.1.0"
BAKED = "/opt/pretrained/"  # weights in the latter, which no other image and no laptop sees
