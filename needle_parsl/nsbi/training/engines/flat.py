"""Parameters and gradients as views of flat vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, optim


class Flat:
    """The parameters of a module, moved into one vector, with room for their gradients in another."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.row = nn.Parameter(nn.utils.parameters_to_vector(parameters).detach().clone())
        self.gradients = torch.zeros_like(self.row)
        self.row.grad = self.gradients
        sizes = [p.numel() for p in parameters]
        views = torch.split(self.gradients, sizes)
        self.views = [view.view_as(p) for view, p in zip(views, parameters, strict=True)]
        for parameter, own in zip(parameters, torch.split(self.row.data, sizes), strict=True):
            parameter.data = own.view_as(parameter)
        self.places = [p.data_ptr() for p in self.parameters]

    def clear(self) -> None:
        """Forget the gradients: a parameter that the next loss does not depend on has none, which is not one of 0."""
        for parameter in self.parameters:
            parameter.grad = None

    def take(self) -> bool:
        """Collect the gradients; False if a parameter has none, or has been given other storage."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if len(gradients) < len(self.parameters) or [p.data_ptr() for p in self.parameters] != self.places:
            return False
        torch._foreach_copy_(self.views, gradients)
        return True

    def divide(self, optimizer: optim.Optimizer) -> None:
        """Give an optimiser back the parameters one by one, each with its part of the state, for good."""
        held = optimizer.state.pop(self.row, {})
        sizes = [p.numel() for p in self.parameters]
        cut = {name: value.split(sizes) for name, value in held.items() if _is_like(value, self.row)}
        for number, parameter in enumerate(self.parameters if held else ()):
            optimizer.state[parameter] = {
                name: cut[name][number].view_as(parameter).clone() if name in cut else _copied(value)
                for name, value in held.items()
            }
        optimizer.param_groups[0]["params"] = self.parameters


def _is_like(value: object, row: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == row.shape and row.numel() > 1


def _copied(value: object) -> object:
    return value.clone() if isinstance(value, torch.Tensor) else value
