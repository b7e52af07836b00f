"""The model card: a README with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from pydantic.alias_generators import to_camel

from qlora_api.job_file import JobFile
from qlora_api.spec import AdapterSpec
from qlora_trainer.rank.standing import perplexity

_TEMPLATE = """---
{{ card_data }}
---

# {{ name }}

{{ what }} `{{ base }}`, trained by qlora-operator with a base of type {{ quantization }}.

| | |
| --- | --- |
| base | `{{ base }}`{{ revision }} |
| data | {{ data }} |
| method | {{ method }} |
| learned | {{ learned }} |
| steps | {{ training.step }} of {{ batch }} sequences of at most {{ length }} tokens |
| learning rate | {{ learning_rate }}, {{ schedule }}, after a warm-up over {{ warmup }} of the steps |
| optimizer | {{ optimizer }}, weight decay {{ weight_decay }}, gradients of at most norm {{ norm }} |
| ranks | {{ world_size }} on {{ nodes }} nodes, ZeRO-{{ stage }} |
| seed | {{ seed }} |
| last loss | {{ "%.4f"|format(training.loss) }} nats a token |
{{ held_out }}

```python
{% if merged -%}
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this folder", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("this folder")
{%- elif sees -%}
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

base = AutoModelForImageTextToText.from_pretrained("{{ load_from }}")
processor = AutoProcessor.from_pretrained("{{ load_from }}")
model = PeftModel.from_pretrained(base, "this folder")
{%- else -%}
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{{ load_from }}")
tokenizer = AutoTokenizer.from_pretrained("{{ load_from }}")
model = PeftModel.from_pretrained(base, "this folder")
{%- endif %}
```

`provenance.json` has the whole job, the digests of model and data, the versions of the libraries, and every attempt.
"""


def model_card(
    job: JobFile, revision: str | None, training: dict[str, Any], is_merged: bool = False, sees: bool = False
) -> str:
    """The card of an adapter, or of a model with the adapter merged into it.

    Args:
        job: the job.
        revision: commit of a base from the hub.
        training: step, loss.
        is_merged: whether the card is of the merged model.
        sees: whether the base is a vision-language model.
    """
    spec = job.spec
    data = [part.source for part in spec.dataset.parts]
    base = base_name(job)
    kind = "finetune" if is_merged else "adapter"
    is_on_hub = spec.model.source.startswith("hf://")
    metadata = ModelCardData(
        library_name="transformers" if is_merged else "peft",
        pipeline_tag="image-text-to-text" if sees else "text-generation",
        base_model=base if is_on_hub else None,  # the hub takes it for a link
        datasets=[source.removeprefix("hf://") for source in data if source.startswith("hf://")] or None,
        tags=[spec.adapter.method, "qlora", f"base_model:{kind}:{base}" if is_on_hub else kind],
    )
    card = ModelCard.from_template(
        metadata,
        template_str=_TEMPLATE,
        merged=is_merged,
        sees=sees,
        what="An adapter merged into" if is_merged else "An adapter of",
        name=job.name,
        base=base,
        load_from=base if is_on_hub else f"the folder of {base.rpartition('/')[2]}",
        revision=f" at {revision}" if revision else "",
        data=", ".join(f"`{source}`" for source in data),
        quantization=spec.quantization.type,
        method=towers_text(spec.adapter) if sees else adapter_text(spec.adapter),
        learned=", ".join(dict.fromkeys(spec.dataset.loss_of(part) for part in spec.dataset.parts)),
        batch=spec.training.global_batch_size,
        length=spec.training.sequence_length,
        learning_rate=f"{spec.training.learning_rate:g}",
        schedule=spec.training.schedule,
        warmup=f"{spec.training.warmup_ratio:.0%}",
        optimizer=spec.training.optimizer,
        weight_decay=f"{spec.training.weight_decay:g}",
        norm=f"{spec.training.max_gradient_norm:g}",
        world_size=job.world_size,
        nodes=len(job.hosts),
        stage=spec.deepspeed.zero_stage,
        seed=spec.training.seed,
        training=training,
        held_out=_held_out(training),
    )
    return f"{card.content.strip()}\n"


def _held_out(training: dict[str, Any]) -> str:
    """A line of the table on the held-out rows, if there were any."""
    found = training.get("evaluation")
    if found is None:
        return ""
    step = training["exportedStep"]
    loss = found["bestLoss"] if step == found["bestStep"] else found["loss"]
    return f"| held-out rows | {loss:.4f} nats a token, a perplexity of {perplexity(loss):.2f}, at step {step} |\n"


def base_name(job: JobFile) -> str:
    """The base model's name on the hub, or its source as the job has it: never a path of the pod."""
    return job.spec.model.source.removeprefix("hf://").rstrip("/")


def adapter_text(adapter: AdapterSpec) -> str:
    """The method and what it was given: `lora (rank 16, alpha 32, ...)`."""
    given = {to_camel(name): value for name, value in adapter.parameters.items() if value not in ("", (), [])}
    return f"{adapter.method} ({', '.join(f'{name} {value}' for name, value in given.items())})"


def towers_text(adapter: AdapterSpec) -> str:
    """The parts that were trained, each as `vision: lora (rank 16, alpha 32, targets all-linear)`."""
    return "; ".join(
        f"{tower.name}: {tower.method}"
        + ("" if tower.method == "full" else f" (rank {tower.rank}, alpha {tower.alpha}, targets {tower.targets})")
        + ("" if tower.learning_rate is None else f", learning rate {tower.learning_rate:g}")
        for tower in adapter.trained_towers
    )
