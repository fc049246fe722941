"""Text-to-image models of this workflow's own: their parts, and how they are trained."""

# Where the denoisers are that `train_generator` trains, by kind.
DENOISER_MODULES = {"dit-i": "synthgap.diffusion.dit", "cad-i": "synthgap.diffusion.cad"}
