"""The real images."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from synthgap.config.sections import Count, Fraction, LicenceName, PerSplit, Section
from synthgap.data.class_tables import read_class_table
from synthgap.errors import UserError

_CLASSES = {"digits": 10, "cifar10": 10}


class Real(Section):
    """The real images, and how they become shards."""

    dataset: Literal["digits", "imagefolder", "webdataset", "parquet", "cifar10"] = Field(
        description="`digits` ships with scikit-learn; `imagefolder` has one folder a class; "
        "`webdataset` and `parquet` are files as on the Hugging Face hub"
    )
    folder: str | None = Field(
        None,
        description="where it is; of webdataset and parquet also a pattern (data/train-*.tar)",
    )
    test_folder: str | None = Field(
        None, description="where test images are, if they are not to be taken out of `folder`"
    )
    license: LicenceName | None = Field(
        None, description="of the images, for dataset cards; that of digits is known"
    )
    class_table: str | None = Field(
        None,
        description="which classes, in which order: `imagenet-200` or a CSV with folder,name",
    )
    class_names: dict[str, str] = Field(
        {}, description="folder name to class name, where they differ; without a class table"
    )
    classes: Count | None = Field(
        None, description="number of classes, for `snakemake plan` before the images are there"
    )
    image_size: Annotated[int, Field(ge=8)] = Field(
        256, description="side in pixels; images are cropped to the central square and resized"
    )
    image_format: Literal["png", "webp", "jpeg"] = Field(
        "png", description="codec in the shards; png and webp are lossless"
    )
    val_fraction: Fraction = Field(0.1, description="share of each class for validation")
    test_fraction: Fraction = Field(0.1, description="share of each class for testing")
    images_per_class: PerSplit | None = Field(
        None, description="so many images of each class, drawn by the seed, instead of all"
    )
    shards: PerSplit = Field(PerSplit(train=1, val=1, test=1), description="shards a split")
    max_unreadable: Annotated[int, Field(ge=0)] = Field(
        0, description="images a split that may be unreadable before its jobs fail"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.dataset == "digits") != (self.folder is None):
            raise ValueError("`folder` is needed with every `dataset` but digits, and not there")
        if self.test_folder and self.dataset in _CLASSES:
            raise ValueError(f"test_folder: {self.dataset} needs none")
        if self.test_folder is not None and self.test_folder == self.folder:
            raise ValueError("test_folder: it is `folder`, so test images would be trained on")
        if self.dataset == "digits" and (self.class_table or self.class_names):
            key = "class_table" if self.class_table else "class_names"
            raise ValueError(f"{key}: digits have their classes and names")
        if self.class_table and self.class_names:
            raise ValueError("class_names: `class_table` names the classes already")
        own_tests = self.test_folder is not None or self.dataset == "cifar10"
        if own_tests and "test_fraction" in self.model_fields_set:
            whose = "test_folder's" if self.test_folder else "CIFAR-10's own"
            raise ValueError(f"test_fraction: leave it out; test images are {whose}")
        if self.val_fraction + (0 if own_tests else self.test_fraction) >= 1:
            raise ValueError("val_fraction + test_fraction must leave images to train on")
        if self.images_per_class and {"val_fraction", "test_fraction"} & self.model_fields_set:
            raise ValueError("images_per_class: leave out val_fraction and test_fraction with it")
        if self.class_table:
            try:
                read_class_table(self.class_table)
            except UserError as error:
                raise ValueError(str(error).removeprefix("real.")) from None
        if self.classes and self.classes != self.known_classes:
            told = "`class_table` has" if self.class_table else f"{self.dataset} has"
            raise ValueError(f"classes: {told} {self.known_classes}; leave it out")
        return self

    @property
    def known_classes(self) -> int | None:
        """Number of classes, as far as the config tells."""
        if self.class_table:
            return len(read_class_table(self.class_table))
        return _CLASSES.get(self.dataset, self.classes)
