"""What diffusers needs to have seen before it loads a pipeline that was trained here.

    import synthgap.diffusion.pipelines
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained("results/models/flow")

Diffusers imports no code because a folder names it, so the names are imported here. A model of
`edm_models` has a pipeline of its own, `EDMPipeline.from_pretrained(folder)`.
"""

from synthgap.diffusion.cad import CADI
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.diffusion.edm.pipeline import EDMPipeline

__all__ = ["CADI", "DiTI", "EDMPipeline", "EDMUNet"]
