"""Sections whose `model` is a built-in name, a hub id or a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from synthgap.config.sections import Section
from synthgap.hub import HubModel, is_folder


class Published(Protocol):
    """A built-in model."""

    @property
    def model(self) -> str:
        """Hub id."""

    @property
    def revision(self) -> str | None:
        """Commit."""


class HubUser(Section):
    """What such sections have in common; each has the fields `model` and `revision` in its order.

    A section calls `check_model` in a validator of its own.
    """

    if TYPE_CHECKING:
        model: str
        revision: str | None

    noun: ClassVar[str]
    """what messages call the model"""
    needed_files: ClassVar[tuple[str, ...]] = ("config.json",)
    """what a folder of one must hold"""

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return the built-in models by name."""
        raise NotImplementedError

    def check_model(self) -> None:
        """Raise ValueError where `model` and `revision` name nothing that can be loaded."""
        if self.model in self.built_in():
            return
        if is_folder(self.model):
            for name in self.needed_files:
                if not Path(self.model, name).is_file():
                    raise ValueError(
                        f"model: {self.model} is no folder of a {self.noun}: it has no "
                        f"{name} (~ is not known)"
                    )
            if self.revision:
                raise ValueError("`revision` is of a hub's model, and `model` is a folder")
        elif self.model.count("/") != 1:
            known = ", ".join(self.built_in())
            raise ValueError(
                f"no {self.noun} `{self.model}`; {f'known: {known}; or ' if known else ''}"
                "give a hub id (owner/name) or a folder (./name)"
            )

    @property
    def origin(self) -> tuple[str, str | None]:
        """Hub id or folder of the model, and its revision."""
        known = self.built_in().get(self.model)
        if known is None:
            return self.model, self.revision
        return known.model, self.revision or known.revision

    @property
    def hub_model(self) -> HubModel | None:
        """What is downloaded, where the model comes from a hub."""
        model, revision = self.origin
        return None if is_folder(model) else HubModel(model, revision, layout="model")
