"""`spec` of a QLoRAJob, one section a module.

Each docstring is what `kubectl explain` prints; each bound is what `kubectl apply` checks.
"""

from qlora_api.spec.adapter import ADAPTER_PARAMETERS, AdapterSpec, Tower
from qlora_api.spec.dataset import ColumnsSpec, DatasetPart, DatasetSpec, Loss, RowFormat, SourceSpec
from qlora_api.spec.deepspeed import DeepSpeedSpec
from qlora_api.spec.evaluation import EarlyStoppingSpec, EvaluationSpec, SamplesSpec
from qlora_api.spec.job import QLoRAJobSpec
from qlora_api.spec.model import ModelSpec
from qlora_api.spec.node import NodeSpec, ResourcesSpec, TolerationSpec
from qlora_api.spec.object_storage import ObjectStorageSpec
from qlora_api.spec.output import OutputSpec
from qlora_api.spec.quantization import QuantizationSpec
from qlora_api.spec.reporting import MLflowSpec, ReportingSpec, WandbSpec
from qlora_api.spec.run_policy import RunPolicySpec
from qlora_api.spec.towers import TOWER_METHODS, TowerName, TowerSpec, TowersSpec
from qlora_api.spec.training import CheckpointSpec, TrainingSpec

__all__ = [
    "ADAPTER_PARAMETERS",
    "TOWER_METHODS",
    "AdapterSpec",
    "CheckpointSpec",
    "ColumnsSpec",
    "DatasetPart",
    "DatasetSpec",
    "DeepSpeedSpec",
    "EarlyStoppingSpec",
    "EvaluationSpec",
    "Loss",
    "MLflowSpec",
    "ModelSpec",
    "NodeSpec",
    "ObjectStorageSpec",
    "OutputSpec",
    "QLoRAJobSpec",
    "QuantizationSpec",
    "ReportingSpec",
    "ResourcesSpec",
    "RowFormat",
    "RunPolicySpec",
    "SamplesSpec",
    "SourceSpec",
    "TolerationSpec",
    "Tower",
    "TowerName",
    "TowerSpec",
    "TowersSpec",
    "TrainingSpec",
    "WandbSpec",
]
