"""Diffusion models in the framework of EDM (Karras et al. 2022), told where images come from.

Karras, Aittala, Aila, Laine: "Elucidating the design space of diffusion-based generative models",
arXiv 2206.00364; equations, tables and algorithms are named after it. Paper D (CASD)
trains them on real and synthetic images together, with the source of each as a condition.
"""

# Where the pipeline is that `models/{edm}` holds; diffusers does not find it by itself.
PIPELINE_CLASS, PIPELINE_MODULE = "EDMPipeline", "synthgap.diffusion.edm.pipeline"

# The label that images are sampled with, always (paper D, algorithm 1).
REAL_LABEL = 0
