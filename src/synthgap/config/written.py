"""What a config file says, key by key."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from synthgap.config.captioners import AttributesCaptioner, Captioner
from synthgap.config.classifiers import Classifier
from synthgap.config.compositional import Compositional
from synthgap.config.edm import EDMModel
from synthgap.config.encoders import Encoder
from synthgap.config.generators import Generator
from synthgap.config.image_sets import ImageSet
from synthgap.config.metrics import Alignment, Distribution
from synthgap.config.real import Real
from synthgap.config.replication import Replication
from synthgap.config.sections import (
    Count,
    FolderName,
    ModelName,
    Name,
    Pattern,
    Section,
    Synthetic,
)
from synthgap.config.studies import Studies
from synthgap.config.text_to_image import (
    Autoencoder,
    TextEncoder,
    TrainedAutoencoder,
    TrainedModel,
    UntrainedTextEncoder,
)
from synthgap.config.views import View


class Written(Section):
    """A whole study."""

    seed: int = Field(0, description="the study's seed: splits and samples derive theirs from it")
    results: FolderName = Field("results", description="folder of everything the workflow makes")
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        30.0, description="time between two checkpoints of a training"
    )
    gpus: Count = Field(8, description="GPUs at hand, for the hours that `snakemake plan` tells")
    real: Real
    fit_to_folder: bool = Field(
        False,
        description="numbers of images are upper limits, lowered to what `real.folder` has",
    )
    captioner: Captioner = AttributesCaptioner()
    downloads: FolderName | None = Field(
        None, description="folder of models from a hub; `models/hub` in `results` by default"
    )
    compare_with: FolderName | None = Field(
        None,
        # It shapes nothing: neither a result nor what the report tells of its config.
        exclude=True,
        description="results folder, or metrics table, of the run that target `compare` looks at",
    )
    autoencoders: dict[Name, Autoencoder] = {"small": TrainedAutoencoder()}
    text_encoders: dict[Name, TextEncoder] = {"small": UntrainedTextEncoder()}
    trained_models: dict[ModelName, TrainedModel] = {}
    edm_models: dict[Name, EDMModel] = {}
    generators: dict[ModelName, Generator] = {}
    image_sets: dict[Name, ImageSet] = {}
    synthetic: Synthetic
    composites: list[Pattern] = []
    views: dict[Name, View] = {}
    classifiers: dict[Name, Classifier] = {}
    encoders: dict[Name, Encoder] = {}
    distributions: dict[Name, Distribution] = {}
    alignment: Alignment | None = None
    replication: Replication | None = None
    compositional: Compositional | None = None
    studies: Studies

    @model_validator(mode="after")
    def _has_a_folder(self) -> Self:
        if self.fit_to_folder and self.real.dataset != "imagefolder":
            raise ValueError(
                "fit_to_folder: only images of `dataset: imagefolder` are counted beforehand"
            )
        return self
