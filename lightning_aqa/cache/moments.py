"""The mean and the covariance of an encoder's layers over the frames of a clip, and few frames that have the same."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad


def moments(frames: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the mean over frames, and a factor of the covariance of the layers, for each dimension by itself.

    With :math:`x_f` the L numbers of one dimension in frame f, the factor R is upper triangular with

    .. math:: R^\top R = \frac{1}{F} \sum_f (x_f - \bar{x})(x_f - \bar{x})^\top.

    It gives the deviation of any mix :math:`w^\top x_f` of the layers, which is :math:`\lVert R w \rVert`; for one
    layer it is the population standard deviation. It comes from a QR decomposition, since the covariance itself would
    lose half of the digits.

    Args:
        frames: Hidden states, shape ``(F, L, D)``.

    Returns:
        Means ``(L, D)`` and the rows of R one after another, ``(L (L + 1) / 2, D)``; both float64.

    Example:
        >>> moments(torch.tensor([[[1.0]], [[3.0]]]))
        (tensor([[2.]], dtype=torch.float64), tensor([[1.]], dtype=torch.float64))
    """
    frames_FLD = frames.double()
    num_frames, num_layers, _ = frames_FLD.shape
    mean_LD = frames_FLD.mean(dim=0)
    centred_DFL = (frames_FLD - mean_LD).permute(2, 0, 1) / num_frames**0.5
    upper_DKL = torch.linalg.qr(centred_DFL, mode="r").R
    upper_DKL = upper_DKL * torch.where(upper_DKL.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0)[..., None]
    upper_DLL = pad(upper_DKL, (0, 0, 0, num_layers - upper_DKL.shape[1]))
    rows, columns = torch.triu_indices(num_layers, num_layers)
    return mean_LD, upper_DLL[:, rows, columns].T


@cache
def contrasts(num_layers: int) -> Tensor:
    r"""Return L orthogonal columns of L + 1 numbers that sum to 0 (Helmert's), their squares to L + 1.

    Example:
        >>> contrasts(1)
        tensor([[ 1.],
                [-1.]], dtype=torch.float64)
    """
    size = num_layers + 1
    order_K = torch.arange(1, size, dtype=torch.float64)
    place_F = torch.arange(size)[:, None]
    columns_FK = torch.where(place_F < order_K, 1.0, torch.where(place_F == order_K, -order_K, 0.0))
    return columns_FK * (size / (order_K * (order_K + 1))).sqrt()


def frames_with(mean: Tensor, factor: Tensor) -> Tensor:
    """Return L + 1 frames with a given mean and covariance; for one layer, mean plus and mean minus deviation.

    Args:
        mean: Means, shape ``(L, D)``.
        factor: What ``moments`` gives for the covariance, shape ``(L (L + 1) / 2, D)``.

    Returns:
        Frames of the dtype of the mean, shape ``(L, L + 1, D)``.

    Example:
        >>> frames_with(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        tensor([[[3.],
                 [1.]]])
    """
    num_layers, width = mean.shape
    rows, columns = torch.triu_indices(num_layers, num_layers)
    upper_KLD = factor.new_zeros(num_layers, num_layers, width)
    upper_KLD[rows, columns] = factor
    contrasts_FK = contrasts(num_layers).to(factor.dtype)
    deviations_FLD = torch.einsum("fk,kld->fld", contrasts_FK, upper_KLD)
    return (mean + deviations_FLD).transpose(0, 1)
