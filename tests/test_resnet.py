"""The backbone against torchvision's, and what importing the tracker leaves out."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision
from torchvision.ops import FrozenBatchNorm2d

from rhmnet.resnet import STAGES, STEM, build_resnet


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_it_is_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, norm_layer=FrozenBatchNorm2d)
    after = torch.rand(1)
    torch.manual_seed(0)
    ours = build_resnet(name)
    assert torch.equal(torch.rand(1), after)  # as many draws
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key]), key
    for key, value in theirs.state_dict().items():
        if "bn" in key or "downsample.1" in key:
            value.uniform_(0.2, 0.6)
    wanted = {k: v for k, v in theirs.state_dict().items() if k in ours.state_dict()}
    assert list(wanted) == list(ours.state_dict())
    state = wanted | {"bn1.num_batches_tracked": torch.tensor(1)}  # of files of torchvision's
    ours.load_state_dict(state)
    x = y = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        for part in (*STEM, *STAGES):
            x, y = getattr(theirs, part)(x), ours[part](y)
            assert torch.equal(x, y), part


def test_tracking_needs_no_torchvision() -> None:
    code = "import sys, rhmnet; rhmnet.Tracker, rhmnet.load_model; import rhmnet.model\n"
    code += "import rhmnet.tools.segment.segment_command\n"
    code += "assert 'torchvision' not in sys.modules and 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
