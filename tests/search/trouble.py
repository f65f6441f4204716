"""A user's file of module kinds that go wrong, each in its own way."""

from __future__ import annotations

KINDS = """
import ctypes, math, time
import nasmod
from nasmod.modules import Parameters

class Nothing(Parameters):
    pass

def trouble(name, forward, counted=True):
    class Kind:
        '''A kind that goes wrong when it computes; if its FLOPs can be counted, not on tensors without numbers.'''
        Parameters = Nothing
        accepts = (1,)
        def output_shape(self, shape, params):
            return shape
        def arguments(self, shape, params):
            return {}
        def network(self):
            import torch
            class Trouble(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.scale = torch.nn.Parameter(torch.ones(1))
                def forward(self, x):
                    return (x if counted and x.device.type == "meta" else forward(x)) * self.scale
            return Trouble
    nasmod.register("kind", name, Kind, Nothing)

"""


def kinds(*lines: str) -> str:
    """The file; a line is ``trouble(name, forward)``, or with ``counted=False`` where counting FLOPs goes wrong too."""
    return KINDS + "".join(f"{line}\n" for line in lines)
