"""The transform of features as a module of torch, with the formulas that needle itself evaluates."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from needle_parsl.nsbi.transforms import formulas
from needle_parsl.nsbi.transforms.formulas import ColumnTable, Tables
from needle_parsl.nsbi.transforms.transform import Transform


class Transformed(nn.Module):
    """Raw features (N, F) to what networks get, (N, F'), single precision; its buffers are named after kinds."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        tables = transform.tables
        self.kinds = [(part.kind, len(part.arrays)) for part in tables.parts]
        for part in tables.parts:
            for number, values in enumerate((part.inputs, *part.arrays)):
                setattr(self, f"{part.kind}_{number}", nn.Buffer(torch.from_numpy(np.array(values))))
        for name in ("order", "sources", "groups"):
            values = np.array(getattr(tables, name))  # torch's archives warn about empty ones
            setattr(self, name, nn.Buffer(torch.from_numpy(values)) if len(values) else ())
        self.missing, self.nan = transform.missing, transform.nan

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform features."""
        parts = [
            ColumnTable(kind, getattr(self, f"{kind}_0"), tuple(getattr(self, f"{kind}_{k + 1}") for k in range(count)))
            for kind, count in self.kinds
        ]
        tables = Tables(parts, self.order, self.sources, self.missing, self.nan, self.groups)
        made: torch.Tensor = formulas.evaluate(torch, tables, x.double())
        return made.float()
