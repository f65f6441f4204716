"""A network with averaged weights: about what its training would come to if the learning rate fell from here on.

At a high learning rate the weights jump around the values that they settle on later. They do so more with larger rates
and smaller batches, so networks trained with unlike settings cannot be compared before the end. An average of the
weights over the latest steps takes most of that away (Izmailov et al. 2018, arXiv:1803.05407; Sandler et al. 2023,
arXiv:2301.02312).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from nasmod.training.optimizer import FlatAdamW

AVERAGE_OVER = 0.25  # of an epoch: how far back the average reaches
EXAMPLES = 2048  # for the statistics of batch norms, taken anew: the old ones are of the weights before averaging


def averaged_network(
    network: nn.Module, optimizer: FlatAdamW, batches: Iterable[Mapping[str, Tensor]], batch_size: int
) -> nn.Module:
    """A copy of a network in training with the average of its weights; `batches` are inputs as it is trained on."""
    averaged = copy.deepcopy(network)
    optimizer.put_average(averaged)
    update_bn(([inputs] for inputs in itertools.islice(batches, -(-EXAMPLES // batch_size))), averaged)
    return averaged
