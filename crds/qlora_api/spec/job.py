"""`spec` as a whole, and the rules between its sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from qlora_api import kernels, methods
from qlora_api.base import ApiModel, rules
from qlora_api.spec.adapter import AdapterSpec
from qlora_api.spec.dataset import DatasetSpec
from qlora_api.spec.deepspeed import DeepSpeedSpec
from qlora_api.spec.evaluation import EvaluationSpec
from qlora_api.spec.model import ModelSpec
from qlora_api.spec.node import NodeSpec
from qlora_api.spec.object_storage import ObjectStorageSpec
from qlora_api.spec.output import OutputSpec
from qlora_api.spec.quantization import QuantizationSpec
from qlora_api.spec.reporting import ReportingSpec
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
OBJECT_STORAGE_IS_FOR_S3 = (
    "!has(self.objectStorage) || self.output.destination.startsWith('s3://') || "
    "self.model.source.startsWith('s3://') || "
    "(has(self.dataset.source) && self.dataset.source.startsWith('s3://')) || "
    "(has(self.dataset.mix) && self.dataset.mix.exists(part, part.source.startsWith('s3://'))) || "
    "(has(self.evaluation) && has(self.evaluation.source) && self.evaluation.source.startsWith('s3://'))",
    "objectStorage is for s3:// locations; remove it, or write s3://bucket/prefix as a source or destination",
)
S3_OUTPUT_NEEDS_CREDENTIALS = (
    "!self.output.destination.startsWith('s3://') || "
    "(has(self.objectStorage) && has(self.objectStorage.credentialsSecret))",
    "output.destination: s3:// can only be written with credentials; write objectStorage.credentialsSecret",
)


def _outside(source: str) -> str:
    """That the output lies neither at a source nor below it; that of a bucket may end with a slash."""
    return f"!(self.output.destination + '/').startsWith({source} + ({source}.endsWith('/') ? '' : '/'))"


ADALORA_NEEDS_ITS_LAST_STEP = (
    "!has(self.evaluation) || self.adapter.method != 'adalora' || "
    "(self.evaluation.export == 'last' && !has(self.evaluation.earlyStopping))",
    "adapter.method: adalora has the rank that was asked for only at its last steps; write evaluation.export: last, "
    "and remove evaluation.earlyStopping",
)
_WITH_TOWERS = "!has(self.adapter.towers) || "
TOWERS_NEED: list[tuple[str, str]] = [
    (
        _WITH_TOWERS + "!self.training.packing",
        "training.packing: images are not packed; write packing: false with adapter.towers",
    ),
    (
        _WITH_TOWERS + "self.deepspeed.zeroStage <= 1",
        "deepspeed.zeroStage: 2 and 3 add up gradients in the order in which they come, which differs between ranks "
        "with and without an image; write zeroStage: 1 with adapter.towers",
    ),
    (
        _WITH_TOWERS + "!self.output.merge",
        "output.merge: an adapter of adapter.towers is not merged; write merge: false",
    ),
]


class QLoRAJobSpec(ApiModel):
    """What to train, on what, with how many nodes, and where the adapter goes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.training.globalBatchSize % (self.nodes * self.node.slots * self.training.microBatchSize) == 0",
                "training.globalBatchSize must be a multiple of nodes x node.slots x training.microBatchSize",
            ),
            (
                "self.training.fit == 'manual' || self.training.microBatchSize == 1",
                "training.microBatchSize is chosen with fit: auto; remove it, or write fit: manual",
            ),
            (
                "self.training.onGPUOutOfMemory == 'fail' || self.training.fit == 'auto' || "
                "self.training.microBatchSize > 1",
                "training.onGPUOutOfMemory: a micro-batch of 1 cannot be halved; write a larger microBatchSize, "
                "fit: auto, or onGPUOutOfMemory: fail",
            ),
            FLOAT16_NEEDS_A_GPU,
            *methods.rules(),
            *kernels.rules(),
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
                _outside("self.model.source"),
                "output.destination lies inside model.source; write another folder",
            ),
            (
                f"!has(self.dataset.source) || {_outside('self.dataset.source')}",
                "output.destination lies inside dataset.source; write another folder",
            ),
            (
                f"!has(self.dataset.mix) || self.dataset.mix.all(part, {_outside('part.source')})",
                "output.destination lies inside a source of dataset.mix; write another folder",
            ),
            OBJECT_STORAGE_IS_FOR_S3,
            S3_OUTPUT_NEEDS_CREDENTIALS,
            (
                f"!has(self.evaluation) || !has(self.evaluation.source) || {_outside('self.evaluation.source')}",
                "output.destination lies inside evaluation.source; write another folder",
            ),
            ADALORA_NEEDS_ITS_LAST_STEP,
            *TOWERS_NEED,
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
    object_storage: ObjectStorageSpec | None = None
    """The store behind s3:// locations. Default: AWS S3 in us-east-1, with requests that are not signed."""
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
    evaluation: EvaluationSpec | None = None
    """Rows that are not learned, on which the loss is measured. Default: none."""
    reporting: ReportingSpec = ReportingSpec()
    """Servers that are told of the training, besides the files in the output."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """How often the training state is saved."""
    run_policy: RunPolicySpec = RunPolicySpec()
    """How the job is run, stopped and cleaned up."""
    queue_name: QueueObjectName | None = None
    """LocalQueue of Kueue that admits the job's pods. Default: none; the pods are created at once."""
    priority_class: QueueObjectName | None = None
    """WorkloadPriorityClass of Kueue: which jobs of the queue come first, and which may take another's place."""

    @property
    def sources(self) -> list[str]:
        """Every source and destination, in the order of model, datasets, held-out rows, output."""
        held_out = self.evaluation.source if self.evaluation is not None else None
        datasets = [part.source for part in self.dataset.parts]
        return [self.model.source, *datasets, *([held_out] if held_out else []), self.output.destination]

    @property
    def needs_model_template(self) -> bool:
        """Whether the model has to bring a chat template."""
        held_out = self.evaluation.part(self.dataset) if self.evaluation is not None else None
        parts = [*self.dataset.parts, *([held_out] if held_out else [])]
        chats = any(part.format in ("messages", "instruction") for part in parts)
        return chats and self.dataset.chat_template is None

    @property
    def compute_dtype(self) -> str:
        """Data type of the arithmetic, chosen by the accelerator where the job does not say."""
        return self.quantization.compute_dtype or ("float32" if self.node.accelerator == "cpu" else "bfloat16")

    @property
    def storage_dtype(self) -> str:
        """Data type of the tensors that hold 4-bit weights. What ZeRO-3 sends should be of one type."""
        stage = self.deepspeed.zero_stage
        return self.quantization.storage_dtype or (self.compute_dtype if stage == 3 else "uint8")
