"""How much memory a job needs on a GPU, before anything runs. It needs neither torch nor the weights themselves."""

from qlora_api.estimate.breakdown import Estimate, Phase
from qlora_api.estimate.choose import choose, least
from qlora_api.estimate.config import ModelConfig
from qlora_api.estimate.estimate import Choice, Rows, estimate

__all__ = ["Choice", "Estimate", "ModelConfig", "Phase", "Rows", "choose", "estimate", "least"]
