"""A network with averaged weights: about what its training would come to if the learning rate fell from here on.

At a high learning rate weights jump about what they settle on later, the more the larger the rate and the smaller the
batches, so that in the middle of trainings networks cannot be compared. An average of the weights over the latest steps
takes most of that away (Izmailov et al. 2018, arXiv:1803.05407; Sandler et al. 2023, arXiv:2301.02312).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from nasmod.training.optimizer import FlatAdamW

AVERAGE_OVER = 0.25  # of an epoch: how far back the average reaches
EXAMPLES = 2048  # of which the statistics of a batch norm are taken anew: those of the jumping weights do not fit


def averaged_network(
    network: nn.Module, optimizer: FlatAdamW, batches: Iterable[Mapping[str, Tensor]], batch_size: int
) -> nn.Module:
    """A copy of a network in training with the average of its weights; `batches` are inputs as it is trained on."""
    averaged = copy.deepcopy(network)
    optimizer.put_average(averaged)
    update_bn(([inputs] for inputs in itertools.islice(batches, -(-EXAMPLES // batch_size))), averaged)
    return averaged
