"""Where the backbone's weights come from before any training: ImageNet's, or a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

import torchvision
from torch import Tensor

from rhmnet.checkpoint_values import not_finite, unusable
from rhmnet.errors import InputError
from rhmnet.feature_extractor import FeatureExtractor
from rhmnet.files.torch_file import read_torch_file


def load_backbone(extractor: FeatureExtractor, backbone: str, source: str) -> None:
    """Fill the backbone from ImageNet (`imagenet`, through torchvision) or a file of its keys.

    Raises InputError where there is no network, no file, a damaged one, or one of another
    architecture.
    """
    state = _imagenet(backbone) if source == "imagenet" else _read(backbone, source)
    wanted = extractor.backbone.state_dict()
    wrong = [k for k, v in wanted.items() if getattr(state.get(k), "shape", None) != v.shape]
    if wrong:
        raise InputError(
            f"model.pretrained={source}: {wrong[0]} and {len(wrong) - 1} more keys are missing or "
            f"of another shape; expected the weights of torchvision's {backbone}"
        )
    for key, value in wanted.items():
        if kind := unusable(key, state[key]) or not_finite(state[key], value.dtype):
            raise InputError(
                f"model.pretrained={source}: {key} is {kind}; expected finite numbers, as in "
                f"torchvision's file of {backbone}"
            )
    extractor.backbone.load_state_dict({key: state[key] for key in wanted})


def _imagenet(backbone: str) -> Mapping[str, Tensor]:
    weights = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"model.pretrained=imagenet: cannot download {weights.url} ({error}); download it "
            "elsewhere and set model.pretrained=FILE, or model.pretrained=none to start from "
            "random weights"
        ) from None


def _read(backbone: str, source: str) -> Mapping[str, Any]:
    try:
        state = read_torch_file(source)
    except InputError as error:
        raise InputError(
            f"model.pretrained: {error}; set `imagenet`, `none` or a file of torchvision's "
            f"{backbone} weights"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            f"model.pretrained={source}: holds no weights by name; expected those of torchvision's "
            f"{backbone}"
        )
    return state
