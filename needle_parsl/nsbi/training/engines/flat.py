"""Parameters and gradients as views of flat vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Flat:
    """The parameters of a module, moved into one vector, with their gradients in another."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.row = nn.Parameter(nn.utils.parameters_to_vector(parameters).detach().clone())
        self.gradients = torch.zeros_like(self.row)
        self.row.grad = self.gradients
        sizes = [p.numel() for p in parameters]
        views = zip(parameters, torch.split(self.row.data, sizes), torch.split(self.gradients, sizes), strict=True)
        for parameter, own, gradient in views:
            parameter.data = own.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
