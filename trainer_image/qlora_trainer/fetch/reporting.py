"""Whether this image can report to the servers that a job names."""

from __future__ import annotations

from importlib.util import find_spec

from qlora_api.reasons import Reason
from qlora_api.spec import ReportingSpec
from qlora_trainer.errors import TrainerError

PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
"""Field of `spec.reporting`, which is the module's name too, and the package that brings it."""


def check_reporting(reporting: ReportingSpec) -> None:
    """Looks for the libraries; none is imported.

    Raises:
        TrainerError: UserError, with the package to add.
    """
    for module, package in PACKAGES.items():
        if getattr(reporting, module) is not None and find_spec(module) is None:
            raise TrainerError(
                Reason.USER_ERROR,
                f"reporting.{module}: this trainer image has no {module}; add the Python package {package} to an image "
                f"of your own and name it in node.image, or remove reporting.{module}",
            )
