"""The four losses of scribble supervision and the criterion that weighs them.

docs/method.md, section 7. Pure functions of probabilities over O + 1 channels (background last);
the channels of the release's K that hold nothing enter by their count alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from rhmnet.arithmetic import in_float32, one_hot, valid_objects
from rhmnet.config import LossConfig
from rhmnet.labels import BACKGROUND, num_channels
from rhmnet.structures import Clip, ClipPrediction

RHO_EPS = 1e-6  # under the root of the smoothness penalty
GREY = (0.299, 0.587, 0.114)
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
LAPLACIAN = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))


@in_float32
def partial_cross_entropy(
    prob: Tensor, labels: Tensor, background_weight: float, normalizer: Tensor | None = None
) -> Tensor:
    """Cross entropy on the strokes alone, a weighted mean; 0 where nothing is labelled.

    prob: [..., O + 1, H, W]; labels: uint8 [..., H, W], 0 unlabelled, 1..O, 255 background.
    normalizer: what the weighted sum is divided by instead of the weights' sum.
    """
    background = prob.shape[-3] - 1
    channel = torch.where(labels == BACKGROUND, background, labels.long() - 1)
    # a pixel without a label reads any channel, with weight 0
    picked = prob.gather(-3, channel.clamp(min=0).unsqueeze(-3)).squeeze(-3)
    weight = label_weight(labels, background_weight)
    nll = -picked.clamp(min=torch.finfo(prob.dtype).tiny).log()
    if normalizer is None:
        normalizer = weight.sum()
    return (weight * nll).sum() / normalizer.clamp(min=torch.finfo(prob.dtype).tiny)


def label_weight(labels: Tensor, background_weight: float) -> Tensor:
    """float32 [..., H, W], the weight of each pixel in the partial cross entropy."""
    return torch.where(labels == BACKGROUND, background_weight, 1.0) * (labels != 0)


@in_float32
def smoothness(
    prob: Tensor,
    frames: Tensor,
    alpha: float,
    num_unused: int,
    labelled: Tensor | None = None,
) -> Tensor:
    """Probabilities change where the image does: [N], one value a frame, summed over K channels.

    prob: [N, O + 1, H, W]; frames: uint8 [N, 3, H, W], RGB. num_unused: channels of the K that are
    not in `prob`; each is flat and adds the penalty's value at zero.
    labelled: bool [N, H, W], pixels that count whatever the image's edges.
    """
    grey_weights = prob.new_tensor(GREY)[:, None, None] / 255
    grey = (frames * grey_weights).sum(dim=1, keepdim=True)
    edges = torch.exp(-alpha * _derivatives(grey).abs())  # [N, 3, H, W]
    if labelled is not None:
        edges = torch.where(labelled.unsqueeze(1), 1.0, edges)
    flat = prob.flatten(0, 1).unsqueeze(1)
    slopes = _derivatives(flat).unflatten(0, prob.shape[:2]) * edges.unsqueeze(1)
    penalty = torch.sqrt(slopes.square() + RHO_EPS).mean(dim=(3, 4)).sum(dim=1)  # [N, 3]
    weights = prob.new_tensor([10.0, 10.0, 1.0])
    return penalty @ weights + num_unused * weights.sum() * RHO_EPS**0.5


@in_float32
def reliable_focal(
    logits_s4: Tensor,
    strokes: Tensor,
    valid: Tensor,
    alpha: float,
    gamma: float,
    kernel: int,
    normalizer: Tensor | None = None,
) -> Tensor:
    """Focal loss of the reliable region against each object's strokes, a mean over what counts.

    logits_s4: [B, T, O, H/4, W/4]; strokes: one-hot [B, T, O, H, W]; valid: bool [B, O].
    kernel: side in pixels of the square that dilates a stroke; the ring between the two does not
    count, nor do objects that pad the batch.
    normalizer: what the sum is divided by instead of the number of pixels that count.
    """
    stroke_s4, counted = focal_targets(strokes, valid, kernel)
    loss = sigmoid_focal_loss(logits_s4, stroke_s4, alpha, gamma)
    if normalizer is None:
        normalizer = counted.sum()
    return (loss * counted).sum() / (normalizer + 1e-8)


def focal_targets(strokes: Tensor, valid: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """Strokes at stride 4 and what counts around them, 0/1 [B, T, O, H/4, W/4] both."""
    flat = strokes.flatten(0, 1)
    maps = (flat, dilate(flat, kernel) - flat)
    stroke_s4, ring_s4 = (_area_resize(x).unflatten(0, strokes.shape[:2]) for x in maps)
    return stroke_s4, (1 - ring_s4) * valid[:, None, :, None, None]


@in_float32
def consistency(prob: Tensor, backward_prob: Tensor) -> Tensor:
    """Mean squared difference of the two directions over K channels, [..., O + 1, H, W] each.

    A channel that holds nothing differs by less than 1e-7 and adds nothing to the sum.
    """
    num_objects = prob.shape[-3] - 1
    share = (num_objects + 1) / num_channels(num_objects)
    return functional.mse_loss(prob, backward_prob) * share


def dilate(maps: Tensor, kernel: int) -> Tensor:
    """Dilate 0/1 maps [N, L, H, W] by a square of odd side `kernel`, in pixels."""
    rows = functional.max_pool2d(maps, (kernel, 1), stride=1, padding=(kernel // 2, 0))
    return functional.max_pool2d(rows, (1, kernel), stride=1, padding=(0, kernel // 2))


class Criterion:
    """All losses of a batch of clips, by name, and their weighted sum."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def normalizers(self, clip: Clip) -> Tensor:
        """float32 [2]: what partial cross entropy and the focal loss divide their sums by.

        Where one batch is shared out, over processes or one after another, and each part divides
        by the mean over all parts, the mean of the parts' losses is the whole batch's loss
        (`train.loss_mean=batch`).
        """
        num_objects = int(clip.num_objects.max())
        valid = valid_objects(clip.num_objects.to(clip.scribbles.device), num_objects)
        strokes = one_hot(clip.scribbles, num_objects)[:, :, :-1]
        _, counted = focal_targets(strokes, valid, self.config.ignore_kernel)
        weight = label_weight(clip.scribbles, self.config.background_weight)
        return torch.stack([weight.sum(), counted.sum()])

    def __call__(
        self, clip: Clip, prediction: ClipPrediction, normalizers: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses in float32: `partial_ce_k`, `smoothness_k`, `consistency_k` of each entire-target
        step k, `reliable_focal`, and `total`.

        normalizers: means of `normalizers` over the parts of a batch that is shared out.
        """
        config = self.config
        ce_normalizer, focal_normalizer = (None, None) if normalizers is None else normalizers
        num_objects = prediction.valid.shape[1]
        losses: dict[str, Tensor] = {}
        total = prediction.reliable_logits_s4.new_zeros((), dtype=torch.float32)
        for step, prob in enumerate(prediction.entire_prob.float().unbind(dim=2)):
            losses[f"partial_ce_{step}"] = partial_cross_entropy(
                prob, clip.scribbles, config.background_weight, ce_normalizer
            )
            losses[f"smoothness_{step}"] = self._smoothness(clip, prob)
            total = total + config.partial_ce_weight * losses[f"partial_ce_{step}"]
            total = total + config.smoothness_weight * losses[f"smoothness_{step}"]
            if prediction.backward_prob is not None:
                backward = prediction.backward_prob[:, :, step].float()
                losses[f"consistency_{step}"] = consistency(prob, backward)
                total = total + config.consistency_weight * losses[f"consistency_{step}"]
        losses["reliable_focal"] = reliable_focal(
            prediction.reliable_logits_s4.float(),
            one_hot(clip.scribbles, num_objects)[:, :, :-1],
            prediction.valid,
            config.focal_alpha,
            config.focal_gamma,
            config.ignore_kernel,
            focal_normalizer,
        )
        losses["total"] = total + config.reliable_focal_weight * losses["reliable_focal"]
        return losses

    def _smoothness(self, clip: Clip, prob: Tensor) -> Tensor:
        """Mean over the frames of the batch; clips with `smooth` off add nothing."""
        num_objects = prob.shape[-3] - 1
        labelled = None
        if self.config.smoothness_with_scribble:
            labelled = (clip.scribbles != 0).flatten(0, 1)
        per_frame = smoothness(
            prob.flatten(0, 1),
            clip.frames.flatten(0, 1),
            self.config.smoothness_alpha,
            num_channels(num_objects) - num_objects - 1,
            labelled,
        )
        return (per_frame.unflatten(0, prob.shape[:2]) * clip.smooth[:, None]).mean()


def _derivatives(maps: Tensor) -> Tensor:
    """[N, 1, H, W] -> [N, 3, H, W]: Sobel in x, Sobel in y, Laplacian, zero padded."""
    sobel = maps.new_tensor(SOBEL)
    kernels = torch.stack([sobel, sobel.T, maps.new_tensor(LAPLACIAN)])
    return functional.conv2d(maps, kernels.unsqueeze(1), padding=1)


def _area_resize(maps: Tensor) -> Tensor:
    """0/1 maps [N, L, H, W] to stride 4: 1 where the larger part of the 16 pixels is.

    As an 8-bit area resize rounds; exactly half goes to the even value, 0.
    """
    return (functional.avg_pool2d(maps, 4) > 0.5).to(maps.dtype)
