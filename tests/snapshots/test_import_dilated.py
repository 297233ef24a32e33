"""Detectors whose backbone's last stage is dilated (DC5): computed as torchvision and timm do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_models import stored_features
from safetensors.torch import save_file
from torch import nn

from bench_core.errors import UnsupportedError
from bench_core.models.chains.resnet import ResNet
from bench_core.snapshots import SnapshotStore, import_folder

DEPTHS, WIDTHS = (1, 2, 1, 3), (32, 64, 96, 128)
SMALL = {
    "depths": list(DEPTHS),
    "hidden_sizes": list(WIDTHS),
    "embedding_size": 16,
    "layer_type": "bottleneck",
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    monkeypatch.setitem(ResNet.configurations, "resnet_small", SMALL)
    return SnapshotStore(tmp_path / "store")


class Bottleneck(nn.Module):
    """A bottleneck with torchvision's names."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        if inputs != outputs or stride > 1:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.bn1(self.conv1(x)))
        found = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(found)))))
        return torch.relu(found + (self.downsample(x) if hasattr(self, "downsample") else x))


class Dilated(nn.Module):
    """A ResNet whose last stage is dilated: torchvision's ``replace_stride_with_dilation``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        inputs = 16
        for stage, (depth, outputs) in enumerate(zip(DEPTHS, WIDTHS, strict=True), start=1):
            layers = []
            for index in range(depth):
                stride = 2 if stage in (2, 3) and index == 0 else 1
                dilation = 2 if stage == 4 and index > 0 else 1
                layers.append(Bottleneck(inputs, outputs, stride, dilation))
                inputs = outputs
            setattr(self, f"layer{stage}", nn.Sequential(*layers))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


def saved(folder: Path, model: nn.Module, **settings: Any) -> Path:
    """Write a detector's folder with this backbone, as it was published."""
    folder.mkdir()
    content = {"model_type": "detr", "use_timm_backbone": True, "backbone": "resnet_small"}
    (folder / "config.json").write_text(json.dumps({**content, **settings}))
    prefix = "model.backbone.conv_encoder.model."
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return folder


NEWER = {"backbone_config": {"model_type": "timm_backbone", "backbone": "resnet_small"}}


@pytest.mark.parametrize(
    "settings",
    [{"dilation": True}, {"backbone_config": {**NEWER["backbone_config"], "output_stride": 16}}],
)
def test_features_are_those_of_the_dilated_backbone(
    settings: dict[str, Any], store: SnapshotStore, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Dilated().eval()
    images = torch.randn(4, 3, 96, 96)
    snapshot = import_folder(store, saved(tmp_path / "dc5", model, **settings))
    with torch.inference_mode():
        expected = model(images)
    found = stored_features(store, snapshot, images)
    assert torch.equal(found, expected)
    again = SnapshotStore(store.folder)
    assert torch.equal(stored_features(again, again.snapshot("dc5"), images), expected)


def test_plain_and_dilated_backbones_share_all_but_what_is_dilated(
    store: SnapshotStore, tmp_path: Path
) -> None:
    model = Dilated()
    dilated = import_folder(store, saved(tmp_path / "dc5", model, dilation=True))
    plain = import_folder(store, saved(tmp_path / "plain", model))
    same = [a == b for a, b in zip(dilated.blocks, plain.blocks, strict=True)]
    assert same == [True] * 5 + [False] * 3


def test_another_output_stride_is_refused(store: SnapshotStore, tmp_path: Path) -> None:
    inner = {**NEWER["backbone_config"], "output_stride": 8}
    folder = saved(tmp_path / "dc", Dilated(), backbone_config=inner)
    with pytest.raises(UnsupportedError, match="output stride of 8"):
        import_folder(store, folder)
