"""`spec` of a QLoRAJob. Each docstring is what `kubectl explain` prints; each bound is what `kubectl apply` checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from qlora_api import methods
from qlora_api.base import ApiModel, matching, rules
from qlora_api.durations import DURATION_PATTERN, LASTING_PATTERN
from qlora_api.quantity import CpuQuantity, MemoryQuantity
from qlora_api.sources import HF_PATTERN, PVC_PATTERN

SourceText = Annotated[
    str, matching(f"^({PVC_PATTERN}|{HF_PATTERN})$", "write pvc://claim/path or hf://organisation/name", 512)
]
PvcText = Annotated[str, matching(f"^{PVC_PATTERN}$", "write pvc://claim/path", 512)]
ObjectName = Annotated[
    str,
    matching(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "write the name of an object: lower-case letters, digits, '-' and '.'", 253
    ),
]
QueueObjectName = Annotated[
    str,
    matching(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "write the name of an object of Kueue: at most 63 lower-case letters, digits, '-' and '.'",
        63,
    ),
]
Revision = Annotated[str, matching("^[0-9a-f]{40}$", "write a commit: 40 hexadecimal digits", 40)]
DurationOrZero = Annotated[str, matching(DURATION_PATTERN, "write a duration such as 90s, 5m, 1h30m or 7d", 32)]
Duration = Annotated[
    str, matching(LASTING_PATTERN, "write a duration of a second or more, such as 90s, 5m, 1h30m or 7d", 32)
]
Image = Annotated[
    str,
    matching(r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", "write an image such as ghcr.io/you/qlora-trainer:0.1.0", 512),
]
Targets = Annotated[
    str,
    matching(
        r"^(all-linear|[A-Za-z_][A-Za-z0-9_.]*(,[A-Za-z_][A-Za-z0-9_.]*)*)$",
        "write all-linear, or names of modules separated by commas, such as q_proj,v_proj",
        2048,
    ),
]
ModuleNames = Annotated[
    str,
    matching(
        r"^[A-Za-z_][A-Za-z0-9_.]*(,[A-Za-z_][A-Za-z0-9_.]*)*$",
        "write names of modules separated by commas, such as norm or lm_head",
        2048,
    ),
]
TokenText = Annotated[str, Field(min_length=1, max_length=256, description="A token, as the tokenizer writes it.")]
Accelerator = Annotated[
    str,
    matching(
        r"^(cpu|[a-z0-9.-]+/[A-Za-z0-9_.-]+)$",
        "write cpu, or the name of a device resource such as nvidia.com/gpu",
        253,
    ),
]
FieldName = Annotated[str, Field(min_length=1, max_length=256)]
FilePattern = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9_@+=*?-][A-Za-z0-9_@+=.*?-]*(/[A-Za-z0-9_@+=*?-][A-Za-z0-9_@+=.*?-]*)*$",
        "write a path below the source, with * for any letters, such as data/train-*.parquet",
        256,
    ),
]
RowFormat = Literal["messages", "instruction", "prompt-completion", "text"]
Loss = Literal["assistant", "completion", "all"]
LabelText = Annotated[str, Field(max_length=317)]

ADAPTER_PARAMETERS = tuple(dict.fromkeys(name for defaults in methods.METHODS.values() for name in defaults))
"""Fields of `spec.adapter` that only some methods read."""

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

NO_CLIMBING = (
    r"!self.source.matches('/\\.\\.(/|$)')",
    "source must not contain '..'; write the path from the volume's root",
)


class ModelSpec(ApiModel):
    """The base model whose weights are quantised and stay frozen."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            NO_CLIMBING,
            (
                "!has(self.revision) || self.source.startsWith('hf://')",
                "revision is for hf:// sources; remove it, or write source: hf://organisation/name",
            ),
            (
                "!has(self.tokenSecret) || self.source.startsWith('hf://')",
                "tokenSecret is for hf:// sources; remove it, or write source: hf://organisation/name",
            ),
        )
    )

    source: SourceText
    """Folder with config.json, a tokenizer and safetensors: pvc://claim/path or hf://organisation/name."""
    revision: Revision | None = None
    """Commit of an hf:// source, 40 hexadecimal digits. Without it each pod takes the newest when it starts."""
    token_secret: ObjectName | None = None
    """Secret of this namespace whose key `token` opens a gated hf:// source."""


class ColumnsSpec(ApiModel):
    """Names of fields, where a dataset calls them differently."""

    messages: FieldName | None = None
    """List of messages, with format messages."""
    role: FieldName | None = None
    """Who speaks, in each message. Values human and gpt are read as user and assistant."""
    content: FieldName | None = None
    """What is said, in each message."""
    system: FieldName | None = None
    """System message of a row, with format messages or instruction. Default: none is looked for."""
    instruction: FieldName | None = None
    """Task, with format instruction."""
    input: FieldName | None = None
    """What the task is about, with format instruction; may be missing or empty."""
    output: FieldName | None = None
    """Answer, with format instruction."""
    prompt: FieldName | None = None
    """Beginning, with format prompt-completion."""
    completion: FieldName | None = None
    """How it goes on, with format prompt-completion."""
    text: FieldName | None = None
    """Document, with format text."""


_COLUMNS_OF_FORMAT = {
    "messages": ("messages", "role", "content", "system"),
    "instruction": ("instruction", "input", "output", "system"),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}


def _columns_fit(unless: str) -> list[tuple[str, str]]:
    """A rule for each format: no column is named that it does not have."""
    found = []
    for row_format, columns in _COLUMNS_OF_FORMAT.items():
        others = [name for name in ColumnsSpec.model_fields if name not in columns]
        named = " || ".join(f"has(self.columns.{name})" for name in others)
        found.append(
            (
                f"{unless} || !has(self.columns) || self.format != '{row_format}' || !({named})",
                f"columns of format {row_format} are {', '.join(columns)}; remove the others, or write another format",
            )
        )
    return found


class SourceSpec(ApiModel):
    """What is read of a source."""

    files: FilePattern | None = None
    """Files of a folder that are read, such as data/train-*.parquet. Default: all with an ending of rows."""
    columns: ColumnsSpec | None = None
    """Names of fields, where the dataset calls them differently."""


class DatasetPart(SourceSpec):
    """One of several datasets that are mixed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            NO_CLIMBING,
            # The API server compares a whole number with a bound that it has rounded down.
            ("self.weight >= 0.01", "weight must be at least 0.01; remove a dataset that is not wanted"),
            *_columns_fit("!has(self.format)"),
        )
    )

    source: SourceText
    """As dataset.source."""
    format: RowFormat | None = None
    """As dataset.format, which is the default."""
    weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """How often each row is seen in an epoch: 2 twice, 0.5 every other row, and the others in the next epoch."""


class DatasetSpec(SourceSpec):
    """The text to train on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.source) != has(self.mix)",
                "write source for one dataset, or mix for several",
            ),
            (
                r"!has(self.source) || !self.source.matches('/\\.\\.(/|$)')",
                "source must not contain '..'; write the path from the volume's root",
            ),
            (
                "!has(self.files) || !has(self.mix)",
                "files belongs to a source; write it in the parts of mix",
            ),
            (
                "has(self.mix) || !(self.format == 'text' && has(self.loss) && self.loss != 'all')",
                "loss: assistant and completion need rows with answers; write loss: all with format: text",
            ),
            (
                "has(self.mix) || !has(self.chatTemplate) || self.format in ['messages', 'instruction']",
                "chatTemplate renders chats; remove it, or write format: messages or instruction",
            ),
            *_columns_fit("has(self.mix)"),
        )
    )

    source: SourceText | None = None
    """A file or a folder of them, JSONL, JSON, Parquet, Arrow, CSV or plain text: pvc://claim/path or
    hf://organisation/name."""
    mix: Annotated[list[DatasetPart], Field(min_length=1, max_length=16)] | None = None
    """Several datasets instead of one."""
    format: RowFormat = "messages"
    """Fields of a row. messages: a list of {role, content}; instruction: instruction, input, output;
    prompt-completion: prompt, completion, without a chat template; text: text."""
    chat_template: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    """Jinja template that renders messages and instructions. Default: the model's own."""
    loss: Loss | None = None
    """Tokens that are learned. assistant: all that the assistant says; completion: only the last answer; all: every
    token. Default: assistant. Rows of format text are learned whole."""

    @property
    def parts(self) -> list[DatasetPart]:
        """What is mixed, with all that a part takes over from the dataset; one part without a mix."""
        if self.mix is None:
            assert self.source is not None, "the schema asks for source or mix"
            return [
                DatasetPart(source=self.source, files=self.files, format=self.format, columns=self.columns, weight=1.0)
            ]
        return [
            part.model_copy(update={"format": part.format or self.format, "columns": part.columns or self.columns})
            for part in self.mix
        ]

    @property
    def needs_model_template(self) -> bool:
        """Whether the model has to bring a chat template."""
        chats = any(part.format in ("messages", "instruction") for part in self.parts)
        return chats and self.chat_template is None

    def loss_of(self, part: DatasetPart) -> Loss:
        """What is learned of the rows of a part."""
        return "all" if part.format == "text" else self.loss or "assistant"


class QuantizationSpec(ApiModel):
    """How the base model is held in memory."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.type in ['nf4', 'fp4'] || !has(self.doubleQuant) || !self.doubleQuant",
                "doubleQuant: true needs a base in 4 bits; write type: nf4, or remove doubleQuant",
            ),
            (
                "self.type in ['nf4', 'fp4'] || !has(self.storageDtype)",
                "storageDtype is for a base in 4 bits; write type: nf4, or remove storageDtype",
            ),
        )
    )

    type: Literal["nf4", "fp4", "int8", "none"] = "nf4"
    """Data type of the frozen weights. nf4: 4 bits, for normally distributed weights; fp4: 4 bits, floating point;
    int8: 8 bits, outliers apart; none: the compute type."""
    double_quant: bool | None = None
    """Quantise the quantisation constants too, which saves 0.37 bits a parameter. Default: true with 4 bits."""
    compute_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """Data type of the arithmetic. float16 is for GPUs without bfloat16. Default: bfloat16, and float32 with
    accelerator: cpu, since most CPUs compute bfloat16 many times slower."""
    storage_dtype: Literal["uint8", "bfloat16", "float16", "float32"] | None = None
    """Data type of the tensors that hold the 4-bit weights; the weights are the same. Default: uint8, and the compute
    type with zeroStage 3, which sends weights through the network."""


class AdapterSpec(ApiModel):
    """The small part that is trained. docs/methods.md says which method to choose, and what it goes together with."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *methods.parameter_rules({name: to_camel(name) for name in ADAPTER_PARAMETERS}),
            (
                "!has(self.trainableTokens) || !has(self.modulesToSave) || !self.modulesToSave.matches("
                "r'(^|,|\\.)(embed_tokens|wte|word_embeddings|embed_in|lm_head|embed_out)(,|$)')",
                "modulesToSave trains all tokens with the embeddings or the output layer; remove trainableTokens",
            ),
        )
    )

    method: Literal[
        "lora",
        "rslora",
        "dora",
        "olora",
        "pissa",
        "loftq",
        "lora-plus",
        "adalora",
        "vera",
        "oft",
        "ia3",
        "prefix-tuning",
        "prompt-tuning",
        "p-tuning",
    ] = "lora"
    """How the adapter is built."""
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of the adapter's matrices; with adalora the mean rank at the end. Default: 16; adalora 8, vera 256."""
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Scale: the adapter's output is multiplied by alpha / rank, with rslora by alpha / sqrt(rank). Default: 32."""
    dropout: Annotated[float, Field(ge=0, le=0.9)] | None = None
    """Part of the adapter's inputs that is dropped in training. Default: 0."""
    targets: Targets | None = None
    """Modules that get an adapter: all-linear, or names separated by commas, such as q_proj,v_proj.
    Default: all-linear; ia3: k_proj,v_proj,down_proj."""
    learning_rate_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """lora-plus: how many times faster than its A a matrix B learns. Default: 16."""
    block_size: Annotated[int, Field(ge=2, le=1024)] | None = None
    """oft: side of the blocks that are rotated; it must divide the inputs of every target. Default: 32."""
    virtual_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    """prefix-tuning, prompt-tuning, p-tuning: learned vectors before the text. Default: 20."""
    trainable_tokens: Annotated[list[TokenText], Field(max_length=64)] | None = None
    """Tokens whose embeddings are trained too, such as <|im_start|>: each one token of the tokenizer. Default: none."""
    modules_to_save: ModuleNames | None = None
    """Modules that are trained whole and saved with the adapter, by names separated by commas, such as norm or
    lm_head. Default: none."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the method reads, by name, with its defaults filled in."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in methods.METHODS[self.method].items()
        }


class TrainingSpec(ApiModel):
    """How long, how fast and in which portions."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the dataset."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimizer steps after which training ends, even within an epoch. Default: no such limit."""
    global_batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Sequences of one optimizer step, over all nodes: the result does not depend on how many nodes there are."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Sequences that one rank holds at once. More is faster and needs more memory."""
    sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = 2048
    """Tokens of a sequence at most. Longer rows are cut at the end, longer texts into pieces."""
    packing: bool = False
    """Fill each sequence with several rows, which do not see each other: faster when rows are shorter than
    sequenceLength. Then globalBatchSize counts filled sequences, so there are fewer steps."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Learning rate after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """Part of all steps in which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight decay of the adapter."""
    optimizer: Literal["adamw", "paged-adamw", "adamw-8bit", "paged-adamw-8bit"] = "adamw"
    """AdamW and where its state lies. paged: moves to the host when the GPU's memory is full; 8bit: a quarter of the
    memory. Both are bitsandbytes' and need a GPU."""
    max_gradient_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Gradients are scaled down to this norm."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass: less memory, about a third more time."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] = 42
    """Seed of the adapter's initial values and of the order of the data."""


class DeepSpeedSpec(ApiModel):
    """What DeepSpeed shares out among the ranks."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 1
    """0: nothing is shared out; 1: the optimizer's state; 2: the gradients too; 3: the base's weights too, for a base
    that does not fit on one device: each layer is sent through the network whenever it is used."""
    offload_optimizer: Literal["none", "cpu"] = "none"
    """Where the optimizer's state lies and is computed. cpu: in the memory of the host."""
    offload_parameters: Literal["none", "cpu"] = "none"
    """Where the base's weights lie while they are not used, with zeroStage 3. cpu: in the memory of the host."""
    config: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = {}
    """DeepSpeed's own configuration, such as a config.json. What it shares with the job must be the same or `auto`;
    where the job has left a default, the configuration's value counts."""


class ResourcesSpec(ApiModel):
    """CPU and memory of one pod. Memory is request and limit, CPU a request only."""

    cpu: CpuQuantity | None = None
    """CPU cores requested, such as 8 or 500m."""
    memory: MemoryQuantity | None = None
    """Memory requested and at most used, such as 64Gi."""


class TolerationSpec(ApiModel):
    """A taint that the pods accept, as in a pod's own tolerations."""

    key: LabelText | None = None
    """Key of the taint. Empty with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists: any value; Equal: this value."""
    value: LabelText | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """With NoExecute: how long the pod stays."""


class NodeSpec(ApiModel):
    """One node of the job: one pod, with its slots, image and resources."""

    slots: Annotated[int, Field(ge=1, le=16)] = 1
    """Ranks on the node, one for each accelerator."""
    accelerator: Accelerator = "nvidia.com/gpu"
    """Resource that a slot takes, such as nvidia.com/gpu; or cpu, for training without a GPU."""
    image: Image | None = None
    """Trainer image. Default: the one that the operator was installed with."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPU and memory of the pod."""
    node_selector: Annotated[dict[str, LabelText], Field(max_length=32)] = {}
    """Labels that a Kubernetes node must have."""
    tolerations: Annotated[list[TolerationSpec], Field(max_length=32)] = []
    """Taints of Kubernetes nodes that the pods accept."""


class OutputSpec(ApiModel):
    """Where the results go."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                r"!self.destination.matches('/\\.\\.(/|$)')",
                "destination must not contain '..'; write the path from the volume's root",
            ),
        )
    )

    destination: PvcText
    """Folder for the adapter, checkpoints and logs: pvc://claim/path. It must be writable from every node. What another
    job has left there is moved to previous/ in it."""


class CheckpointSpec(ApiModel):
    """How often the training state is saved."""

    every: Duration = "60s"
    """Time between two checkpoints, such as 60s or 10m."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints that are kept."""


class RunPolicySpec(ApiModel):
    """How the job is run, stopped and cleaned up. It can be changed while the job runs."""

    suspend: bool = False
    """Stop after a checkpoint and give the pods back; set to false to go on from there."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """New attempts and restarts in place after failures of the job itself. Preemption, eviction and lost nodes are not
    counted."""
    max_disruptions: Annotated[int, Field(ge=0, le=1000)] = 10
    """New attempts an hour after preemption, eviction and lost nodes."""
    start_deadline: Duration = "1h"
    """Time within which all pods of an attempt must run, such as 10m; afterwards the job fails and frees its nodes.
    Time in a queue is not counted."""
    active_deadline: Duration | None = None
    """Time from the first start within which the job must end, such as 24h. Time in a queue, or suspended, is not
    counted. Default: no such limit."""
    ttl_after_finished: DurationOrZero | None = None
    """Time after its end at which the job is deleted, such as 7d; the output stays. Default: never."""
    clean_pods: Literal["Running", "All", "None"] = "Running"
    """Pods that are deleted when the job ends. Running: only those that still run, so that logs stay; All; None."""
    replace_pods_of_lost_nodes: bool = True
    """Delete pods by force when their node does not answer, so that the job can go on elsewhere. An old trainer that
    still runs there can write no checkpoint any more."""


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
