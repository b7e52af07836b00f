"""Whether an adapter can be merged into the files of a model: they must have each weight under the model's own name.

Some architectures keep their weights in another form on disk, such as the experts of a mixture one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.targets import build_without_weights
from qlora_trainer.fetch.weights import Shapes


def check_merge(model: Path, shapes: Shapes, is_target: Callable[[str], bool]) -> None:
    """Looks for the weights of all targets, in a model that is built without them: that takes seconds.

    Args:
        model: folder of the base.
        shapes: of the weights in its files.
        is_target: whether a module gets an adapter, by its name.

    Raises:
        TrainerError: UserError, with the weight that is not there.
    """
    for name, parameter in build_without_weights(model).named_parameters():
        module = name.removesuffix(".weight")
        is_adapted = parameter.ndim >= 2 and is_target(module)
        if is_adapted and name not in shapes and name.partition(".")[2] not in shapes:
            raise TrainerError(
                Reason.USER_ERROR,
                f"output.merge: the model's files have no weight {name}, which the adapter changes; write "
                "output.merge: false, or other adapter.targets",
            )
