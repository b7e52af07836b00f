"""`spec` as a whole, and the rules between its sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from qlora_api import methods
from qlora_api.base import ApiModel, rules
from qlora_api.spec.adapter import AdapterSpec
from qlora_api.spec.dataset import DatasetSpec
from qlora_api.spec.deepspeed import DeepSpeedSpec
from qlora_api.spec.model import ModelSpec
from qlora_api.spec.node import NodeSpec
from qlora_api.spec.output import OutputSpec
from qlora_api.spec.quantization import QuantizationSpec
from qlora_api.spec.run_policy import RunPolicySpec
from qlora_api.spec.texts import QueueObjectName
from qlora_api.spec.training import CheckpointSpec, TrainingSpec

OPTIMIZER_OFFLOAD_NEEDS_ZERO = (
    "self.deepspeed.offloadOptimizer == 'none' || self.deepspeed.zeroStage >= 1",
    "deepspeed.offloadOptimizer: cpu needs zeroStage 1 or more; write zeroStage: 1",
)
PARAMETER_OFFLOAD_NEEDS_ZERO_3 = (
    "self.deepspeed.offloadParameters == 'none' || self.deepspeed.zeroStage == 3",
    "deepspeed.offloadParameters: cpu needs zeroStage 3; write zeroStage: 3, or remove offloadParameters",
)
FLOAT16_NEEDS_A_GPU = (
    "self.node.accelerator != 'cpu' || !has(self.quantization.computeDtype) || "
    "self.quantization.computeDtype != 'float16'",
    "quantization.computeDtype: float16 needs a GPU; write bfloat16 or float32 with accelerator: cpu",
)
SMALL_OPTIMIZER_NEEDS_A_GPU = (
    "self.training.optimizer == 'adamw' || self.node.accelerator != 'cpu'",
    "training.optimizer: paged and 8-bit optimizers need a GPU; write optimizer: adamw",
)
SMALL_OPTIMIZER_OR_OFFLOAD = (
    "self.training.optimizer == 'adamw' || self.deepspeed.offloadOptimizer == 'none'",
    "training.optimizer: paged and 8-bit optimizers step on the GPU; write offloadOptimizer: none",
)


class QLoRAJobSpec(ApiModel):
    """What to train, on what, with how many nodes, and where the adapter goes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.training.globalBatchSize % (self.nodes * self.node.slots * self.training.microBatchSize) == 0",
                "training.globalBatchSize must be a multiple of nodes x node.slots x training.microBatchSize",
            ),
            FLOAT16_NEEDS_A_GPU,
            *methods.rules(),
            (
                f"!(self.training.packing && self.adapter.method in {list(methods.PROMPT_METHODS)})",
                "adapter.method: virtual tokens would stand before the first row of a sequence only; write "
                "training.packing: false",
            ),
            (
                "!self.output.merge || !has(self.adapter.modulesToSave) || !self.adapter.modulesToSave.matches("
                "r'(^|,|\\.)(embed_tokens|wte|word_embeddings|embed_in|lm_head|embed_out)(,|$)')",
                "output.merge: embeddings and output layers that were trained whole may share a weight; remove them "
                "from adapter.modulesToSave, or write output.merge: false",
            ),
            OPTIMIZER_OFFLOAD_NEEDS_ZERO,
            PARAMETER_OFFLOAD_NEEDS_ZERO_3,
            SMALL_OPTIMIZER_NEEDS_A_GPU,
            SMALL_OPTIMIZER_OR_OFFLOAD,
            (
                "self.output.destination != self.model.source && "
                "!self.output.destination.startsWith(self.model.source + '/')",
                "output.destination lies inside model.source; write another folder",
            ),
            (
                "!has(self.dataset.source) || (self.output.destination != self.dataset.source && "
                "!self.output.destination.startsWith(self.dataset.source + '/'))",
                "output.destination lies inside dataset.source; write another folder",
            ),
            (
                "!has(self.dataset.mix) || self.dataset.mix.all(part, self.output.destination != part.source && "
                "!self.output.destination.startsWith(part.source + '/'))",
                "output.destination lies inside a source of dataset.mix; write another folder",
            ),
            (
                "!has(self.priorityClass) || has(self.queueName)",
                "priorityClass orders the jobs of a queue; write queueName as well, or remove priorityClass",
            ),
        )
    )

    model: ModelSpec
    """The base model."""
    dataset: DatasetSpec
    """The text to train on."""
    output: OutputSpec
    """Where the results go."""
    quantization: QuantizationSpec = QuantizationSpec()
    """How the base model is held in memory."""
    adapter: AdapterSpec = AdapterSpec()
    """The small matrices that are trained."""
    training: TrainingSpec = TrainingSpec()
    """How long, how fast and in which portions."""
    deepspeed: DeepSpeedSpec = DeepSpeedSpec()
    """What DeepSpeed shares out among the ranks."""
    nodes: Annotated[int, Field(ge=1, le=512)] = 1
    """Pods of the job, each on a Kubernetes node or a part of one."""
    node: NodeSpec = NodeSpec()
    """One node of the job: its slots, accelerator, image and resources."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """How often the training state is saved."""
    run_policy: RunPolicySpec = RunPolicySpec()
    """How the job is run, stopped and cleaned up."""
    queue_name: QueueObjectName | None = None
    """LocalQueue of Kueue that admits the job's pods. Default: none; the pods are created at once."""
    priority_class: QueueObjectName | None = None
    """WorkloadPriorityClass of Kueue: which jobs of the queue come first, and which may take another's place."""

    @property
    def compute_dtype(self) -> str:
        """Data type of the arithmetic, chosen by the accelerator where the job does not say."""
        return self.quantization.compute_dtype or ("float32" if self.node.accelerator == "cpu" else "bfloat16")

    @property
    def storage_dtype(self) -> str:
        """Data type of the tensors that hold 4-bit weights. What ZeRO-3 sends should be of one type."""
        stage = self.deepspeed.zero_stage
        return self.quantization.storage_dtype or (self.compute_dtype if stage == 3 else "uint8")
