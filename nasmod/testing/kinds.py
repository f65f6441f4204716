"""What holds for every module kind."""

from __future__ import annotations

import copy
import inspect
import runpy
import textwrap
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasmod import registry
from nasmod.modules import Shape, build, check_params, kind, network_class

INHERITED = [HealthCheck.differing_executors]  # a suite has no state: any instance of it may run a test
IMPORTS = """\
from __future__ import annotations
import math
import torch
from torch import nn
from torch.nn import functional as F
"""  # what an exported `model.py` has
SMALL = 9  # sizes stay small so that hundreds of examples take seconds


class KindSuite:
    """Inherit it for a registered kind."""

    name: ClassVar[str]

    @settings(deadline=None, max_examples=60, suppress_health_check=INHERITED)
    @given(data=st.data())
    def test_what_comes_out_has_the_output_shape_and_trains(self, data: st.DataObject) -> None:
        shape, params = data.draw(shapes(self.name)), data.draw(parameters(self.name))
        network = build(self.name, shape, params)
        x = torch.randn(3, *shape, requires_grad=True)
        y = network(x)
        assert y.shape == (3, *kind(self.name).output_shape(shape, check_params(self.name, params)))
        y.square().sum().backward()
        for tensor in (y, x.grad, *(parameter.grad for parameter in network.parameters())):
            assert tensor is not None
            assert tensor.isfinite().all()

    @settings(deadline=None, max_examples=20, suppress_health_check=INHERITED)
    @given(data=st.data())
    def test_an_example_is_judged_alone_in_eval_mode(self, data: st.DataObject) -> None:
        shape, params = data.draw(shapes(self.name)), data.draw(parameters(self.name))
        network = build(self.name, shape, params).eval()
        x = torch.randn(3, *shape)
        with torch.no_grad():
            torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-5)

    def test_the_copied_source_gives_the_same_network_with_math_and_torch_alone(self, tmp_path: Path) -> None:
        source = textwrap.dedent(inspect.getsource(network_class(self.name)))
        file = tmp_path / "copied.py"
        file.write_text(f"{IMPORTS}\n{source}", encoding="utf-8")
        names = runpy.run_path(str(file))
        shape = self._shape()
        original = build(self.name, shape, {}).eval()
        arguments = kind(self.name).arguments(shape, check_params(self.name, {}))
        rebuilt = names[network_class(self.name).__name__](**arguments).eval()
        rebuilt.load_state_dict(original.state_dict())
        x = torch.randn(2, *shape)
        with torch.no_grad():
            torch.testing.assert_close(rebuilt(x), original(x), rtol=0, atol=0)

    def test_a_network_can_be_copied_and_moved(self) -> None:
        shape = self._shape()
        network = build(self.name, shape, {}).eval()
        x = torch.randn(2, *shape)
        with torch.no_grad():
            torch.testing.assert_close(copy.deepcopy(network)(x), network(x))
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
            assert network(x).isfinite().all()

    def test_every_parameter_has_a_default_and_bounds(self) -> None:
        for field, declared in kind(self.name).Parameters.model_fields.items():
            assert not declared.is_required(), field
            bounded = {type(bound).__name__ for bound in declared.metadata} >= {"Ge", "Le"}
            assert bounded or declared.annotation is bool or get_origin(declared.annotation) is Literal, field
        assert registry.summary("kind", self.name).endswith(".")

    def _shape(self) -> Shape:
        return (4, 6, 6)[: max(kind(self.name).accepts)]


@st.composite
def parameters(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Any parameters that a kind declares, kept small."""
    drawn: dict[str, Any] = {}
    for field, declared in kind(name).Parameters.model_fields.items():
        if get_origin(declared.annotation) is Literal:
            drawn[field] = draw(st.sampled_from(get_args(declared.annotation)))
        elif declared.annotation is bool:
            drawn[field] = draw(st.booleans())
        else:
            lowest = next(bound.ge for bound in declared.metadata if hasattr(bound, "ge"))
            drawn[field] = draw(st.integers(lowest, lowest + 3))
    return drawn


@st.composite
def shapes(draw: st.DrawFn, name: str) -> Shape:
    """Any shape that a kind reads, kept small."""
    rank = draw(st.sampled_from(kind(name).accepts))
    return tuple(draw(st.lists(st.integers(1, SMALL), min_size=rank, max_size=rank)))
