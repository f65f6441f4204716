"""What holds for every module kind. A new built-in kind is tested here without a line of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import model_validator
from torch import nn

from nasmod import registry
from nasmod.errors import PluginError, SpaceError, UnknownNameError
from nasmod.modules import Parameters, build, check_params, kind
from nasmod.testing import KindSuite

torch.set_num_threads(1)
for name in registry.names("kind"):
    globals()[f"Test{name.title()}"] = type(f"Test{name.title()}", (KindSuite,), {"name": name})


def test_attention_reads_the_order_of_a_sequence() -> None:
    for position in ("learned", "sinusoidal"):
        network = build("attention", (3, 5), {"position": position, "heads": 3, "head_width": 3}).eval()
        x = torch.randn(1, 3, 5)
        with torch.no_grad():
            assert not torch.allclose(network(x).flip(2), network(x.flip(2)), atol=1e-3)


def test_a_separable_convolution_has_fewer_parameters() -> None:
    whole, separable = (build("conv", (16, 8, 8), {"channels": 32, "separable": s}) for s in (False, True))
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (whole, separable)]
    assert count == [16 * 32 * 9 + 2 * 32, 16 * 9 + 16 * 32 + 2 * 32]


def test_a_residual_layer_of_zeros_passes_on_what_it_reads() -> None:
    for name, params, shape in [
        ("dense", {"width": 4, "residual": True, "depth": 2}, (4,)),
        ("conv", {"channels": 4, "residual": True, "depth": 2, "normalisation": "none"}, (4, 5, 5)),
    ]:
        network = build(name, shape, params)
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        x = torch.randn(2, *shape)
        torch.testing.assert_close(network(x), x)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("dense", {"widht": 3}, "No parameter of the kind 'dense' 'widht'. Did you mean 'width'?"),
        ("dense", {"width": 0}, "Parameter 'width' of the kind 'dense': Input should be greater than or equal to 1"),
        ("dense", {"width": 2.5}, "Parameter 'width' of the kind 'dense': Input should be a valid integer, not 2.5"),
        ("dense", {"width": True}, "Parameter 'width'"),
        ("conv", {"kernel": 4}, "Parameter 'kernel' of the kind 'conv': Input should be 1, 3, 5 or 7, not 4."),
    ],
)
def test_bad_parameters_are_named_in_one_line(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as raised:
        check_params(name, params)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'conv'"):
        kind("cnov")


def test_a_kind_that_lacks_a_member_is_refused(register: Callable[..., None]) -> None:
    class HalfParameters(Parameters):
        """No parameters."""

    class Half:
        """Half a kind."""

        Parameters = HalfParameters

    class Strange(Half):
        """Registered with other parameters than its own."""

        accepts = (1,)
        output_shape = arguments = network = None

    register("kind", "half", Half, HalfParameters)
    register("kind", "strange", Strange, Parameters)
    with pytest.raises(PluginError, match="needs a member 'accepts'"):
        kind("half")
    with pytest.raises(PluginError, match="must be what it was registered with"):
        kind("strange")


class Plain(Parameters):
    """No parameters."""


class Sound:
    """A kind that is as it should be, but for what a test changes."""

    Parameters = Plain
    accepts = (1,)
    output_shape = arguments = network = None


class Failing(Sound):
    """Raises when it is made."""

    def __init__(self) -> None:
        raise RuntimeError("boom")


class Demanding(Sound):
    """Wants something when it is made."""

    def __init__(self, something: int) -> None: ...


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Failing, "cannot be made: RuntimeError: boom"),
        (Demanding, "cannot be made: TypeError: .* 'something'"),
        (Sound(), "cannot be made: TypeError"),
        (type("Nothing", (Sound,), {"accepts": ()}), r"some of the ranks \(1, 2, 3\), not \(\)"),
        (type("Volume", (Sound,), {"accepts": (4,)}), r"not \(4,\)"),
        (type("One", (Sound,), {"accepts": 1}), "not 1"),
    ],
)
def test_a_kind_that_is_none_is_refused_in_one_line(register: Callable[..., None], made: Any, words: str) -> None:
    register("kind", f"odd {words}", made, Plain)
    with pytest.raises(PluginError, match=words):
        kind(f"odd {words}")


def test_a_kind_is_registered_under_a_name() -> None:
    with pytest.raises(PluginError, match="registered under a name, not 5"):
        registry.register("kind", 5, Sound, Plain)  # type: ignore[arg-type]  # as a user may write


class Dependent(Parameters):
    """Parameters of which one bounds another, with a validator that may raise anything."""

    width: int = 8
    heads: int = 1

    @model_validator(mode="after")
    def _divides(self) -> Dependent:
        if self.width % self.heads:  # not caught where there are no heads
            raise ValueError("heads must divide width")
        return self


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"heads": 3}, r"Parameters of the kind 'dependent': heads must divide width, not \{'heads': 3\}"),
        ({"heads": 0}, r"The kind 'dependent' refuses \{'heads': 0\}: ZeroDivisionError"),
    ],
)
def test_parameters_that_depend_on_each_other_are_refused_in_one_line(
    register: Callable[..., None], params: dict[str, Any], words: str
) -> None:
    register("kind", "dependent", type("Kind", (Sound,), {"Parameters": Dependent}), Dependent)
    with pytest.raises(SpaceError, match=words):
        check_params("dependent", params)


def test_importing_kinds_and_plans_imports_no_torch() -> None:
    code = "import sys, nasmod.modules.dense, nasmod.modules.conv, nasmod.modules.pool, nasmod.modules.attention"
    result = subprocess.run([sys.executable, "-c", f"{code}\nassert 'torch' not in sys.modules"], check=False)
    assert result.returncode == 0
