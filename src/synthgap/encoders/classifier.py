"""A classifier trained here as encoder: what enters its last layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthgap.classifiers.evaluation import extract, load
from synthgap.encoders import Images, Vectors
from synthgap.encoders.network import NetworkEncoder, weights_digest


def make_encoder(spec: Mapping[str, Any], model: Path, device: str) -> NetworkEncoder:
    """Return the encoder that options of family `classifier` describe; see `synthgap.encoders`.

    model: .safetensors of `train_classifier`.
    """
    network: Any  # nn.Module does not declare what tells the width
    network, about = load(model)
    network.to(device)

    def run(images: Images) -> Vectors:
        return extract(network, about.fit(images), len(images))

    seen: dict[str, Any] = {"image_size": about.input_size or "as it is"}
    if about.test_share < 1:
        seen["share"] = about.test_share
    bagnet = about.architecture["family"] == "bagnet"
    return NetworkEncoder(
        run,
        width=network.classifier.in_features if bagnet else network.head_hidden_size,
        identity={
            "family": "classifier",
            "weights": weights_digest(model),
            "layer": "before the last",
            "dtype": "float32",
            "preprocessing": seen,
        },
        spec=spec,
        model=model,
        device=device,
    )
