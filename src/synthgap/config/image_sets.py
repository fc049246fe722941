"""Generated images that are there already: folders or files of generators that are not run here."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from synthgap.config.sections import LicenceName, PerSplit, Section


class ImageSet(Section):
    """Images that somebody else generated, in files as real ones may come."""

    dataset: Literal["imagefolder", "webdataset", "parquet"] = Field(
        "imagefolder", description="one folder a class, or files as on the Hugging Face hub"
    )
    folder: str = Field(description="where it is; of webdataset and parquet also a pattern")
    released: datetime.date | None = Field(
        None, description="release date of the generator, the figures' x axis"
    )
    license: LicenceName | None = Field(None, description="of the images, for the dataset card")
    guidance_scale: Annotated[float, Field(ge=0)] = Field(
        1.0, description="that it was sampled with, the x axis where a date is missing"
    )
    samples_per_class: PerSplit | None = Field(
        None, description="images, if not `synthetic.samples_per_class`"
    )
    shards: PerSplit | None = Field(None, description="shards a split, if not `synthetic.shards`")
    max_unreadable: Annotated[int, Field(ge=0)] = Field(
        0, description="images a split that may be unreadable before its jobs fail"
    )

    def options(self, real: Any, samples: PerSplit) -> dict[str, Any]:
        """Return what the commands of real images need to know.

        Args:
            real: the config's section, whose classes, size and codec these images take.
            samples: images of each class, where it does not say so itself.
        """
        shared: dict[str, Any] = real.model_dump(
            include={"class_table", "class_names", "image_size", "image_format"}
        )
        own = self.model_dump(include={"dataset", "folder", "max_unreadable"})
        # Fractions do not count where the number of images is given.
        return (
            shared
            | own
            | {
                "test_folder": None,
                "images_per_class": (self.samples_per_class or samples).model_dump(),
                "val_fraction": 0.1,
                "test_fraction": 0.1,
            }
        )
