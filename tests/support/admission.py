"""Jobs that `kubectl apply` refuses, each with words of its answer, and datasets that it accepts."""

from __future__ import annotations

from typing import Any

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"bogus": 1}, 'unknown field "spec.bogus"'),
    "no model": ({"model": None}, "spec.model: Required value"),
    "source without a scheme": (
        {"model": {"source": "models/tiny"}},
        'spec.model.source: Invalid value: "models/tiny": write pvc://claim/path, hf://organisation/name, s3://bucket',
    ),
    "source that climbs": ({"dataset": {"source": "pvc://data/../x"}}, "source must not contain '..'"),
    "revision of a volume": (
        {"model": {"source": "pvc://m/x", "revision": "0" * 40}},
        "revision is for hf:// sources; remove it",
    ),
    "short revision": (
        {"model": {"source": "hf://a/b", "revision": "main"}},
        "write a commit: 40 hexadecimal digits",
    ),
    "batch that does not divide": (
        {"nodes": 3},
        "training.globalBatchSize must be a multiple of nodes x node.slots x training.microBatchSize",
    ),
    "a micro-batch that is chosen": (
        {"training": {"fit": "auto", "microBatchSize": 2}},
        "training.microBatchSize is chosen with fit: auto; remove it, or write fit: manual",
    ),
    "a micro-batch of one that may be halved": (
        {"training": {"onGPUOutOfMemory": "halve-micro-batch"}},
        "a micro-batch of 1 cannot be halved; write a larger microBatchSize, fit: auto, or onGPUOutOfMemory: fail",
    ),
    "zero nodes": ({"nodes": 0}, "spec.nodes in body should be greater than or equal to 1"),
    "rank too large": ({"adapter": {"rank": 5000}}, "spec.adapter.rank in body should be less than or equal to 1024"),
    "learning rate of zero": ({"training": {"learningRate": 0}}, "spec.training.learningRate"),
    "unknown schedule": (
        {"training": {"schedule": "step"}},
        'Unsupported value: "step": supported values: "cosine", "linear", "constant"',
    ),
    "text with assistant loss": (
        {"dataset": {"source": "pvc://data/t.jsonl", "format": "text", "loss": "assistant"}},
        "write loss: all with format: text",
    ),
    "completion loss on text": (
        {"dataset": {"source": "pvc://data/t.jsonl", "format": "text", "loss": "completion"}},
        "write loss: all with format: text",
    ),
    "towers without a tower": ({"adapter": {"towers": {}}}, "write at least one of language, projector and vision"),
    "an unknown tower": ({"adapter": {"towers": {"audio": {}}}}, 'unknown field "spec.adapter.towers.audio"'),
    "an unknown method of a tower": (
        {"adapter": {"towers": {"vision": {"method": "vera"}}}},
        'Unsupported value: "vera": supported values:',
    ),
    "a whole language model": (
        {"adapter": {"towers": {"language": {"method": "full"}}}},
        "language.method: full would train the whole language model in float32; write lora, rslora or dora",
    ),
    "a rank of a whole tower": (
        {"adapter": {"towers": {"vision": {"method": "full", "rank": 8}}}},
        "method: full trains every weight; remove rank, alpha and targets, or write method: lora",
    ),
    "towers of another method": (
        {"adapter": {"method": "vera", "towers": {"vision": {"method": "lora"}}}},
        "towers: an adapter of several parts has method lora, rslora or dora",
    ),
    "compiled kernels of another method": (
        {"adapter": {"method": "dora"}, "training": {"kernels": "compiled"}},
        "training.kernels: fused and compiled are for a plain LoRA; write adapter.method: lora, rslora or lora-plus",
    ),
    "fused kernels that drop inputs": (
        {"adapter": {"dropout": 0.1}, "training": {"kernels": "fused"}},
        "training.kernels: fused and compiled drop no inputs; write adapter.dropout: 0",
    ),
    "fused kernels and tokens": (
        {"adapter": {"trainableTokens": ["<a>"]}, "training": {"kernels": "fused"}},
        "training.kernels: fused and compiled train the LoRA alone; remove adapter.trainableTokens",
    ),
    "fused kernels and images": (
        {"adapter": {"towers": {"vision": {}}}, "training": {"kernels": "fused"}},
        "training.kernels: fused and compiled are for text; remove adapter.towers",
    ),
    "fused kernels in 8 bits": (
        {"quantization": {"type": "int8"}, "training": {"kernels": "fused"}},
        "training.kernels: fused and compiled read a base in nf4; write quantization.type: nf4 or none",
    ),
    "compiled kernels with ZeRO-3": (
        {"deepspeed": {"zeroStage": 3}, "training": {"kernels": "compiled"}},
        "training.kernels: fused and compiled need whole weights on every rank; write deepspeed.zeroStage: 2 or less",
    ),
    "towers and tokens": (
        {"adapter": {"trainableTokens": ["<a>"], "towers": {"vision": {}}}},
        "towers: trainableTokens and modulesToSave are for models without them",
    ),
    "towers of which only one is dora": (
        {"adapter": {"towers": {"language": {"method": "dora"}, "vision": {}}}},
        "towers: one adapter is dora in all of its towers or in none",
    ),
    "packed images": (
        {"adapter": {"towers": {"vision": {}}}, "training": {"packing": True}},
        "training.packing: images are not packed; write packing: false with adapter.towers",
    ),
    "towers with ZeRO-2": (
        {"adapter": {"towers": {"vision": {}}}, "deepspeed": {"zeroStage": 2}},
        "write zeroStage: 1 with adapter.towers",
    ),
    "merged towers": (
        {"adapter": {"towers": {"vision": {}}}, "output": {"destination": "pvc://results/out", "merge": True}},
        "output.merge: an adapter of adapter.towers is not merged; write merge: false",
    ),
    "frozen towers of a base that is not quantised": (
        {"quantization": {"type": "none", "frozenTowers": True}},
        "frozenTowers: true quantises, and type: none does not",
    ),
    "images of another format": (
        {"dataset": {"source": "pvc://data/t.jsonl", "format": "text", "columns": {"images": "picture"}}},
        "columns of format text are text; remove the others",
    ),
    "no dataset": ({"dataset": {"format": "text"}}, "write source for one dataset, or mix for several"),
    "a dataset and a mix": (
        {"dataset": {"source": "pvc://data/a", "mix": [{"source": "pvc://data/b"}]}},
        "write source for one dataset, or mix for several",
    ),
    "an empty mix": ({"dataset": {"mix": []}}, "spec.dataset.mix in body should have at least 1 items"),
    "a mix that climbs": (
        {"dataset": {"mix": [{"source": "pvc://data/../x"}]}},
        "spec.dataset.mix[0]: Invalid value: source must not contain '..'",
    ),
    "files of no source": (
        {"dataset": {"mix": [{"source": "pvc://data/a"}], "files": "*.jsonl"}},
        "files belongs to a source; write it in the parts of mix",
    ),
    "files that climb": (
        {"dataset": {"source": "pvc://data/a", "files": "../*.jsonl"}},
        "write a path below the source, with * for any letters",
    ),
    "a weight of nothing": (
        {"dataset": {"mix": [{"source": "pvc://data/a", "weight": 0}]}},
        "weight must be at least 0.01; remove a dataset that is not wanted",
    ),
    "columns of another format": (
        {"dataset": {"source": "pvc://data/a", "format": "text", "columns": {"prompt": "q"}}},
        "columns of format text are text; remove the others, or write another format",
    ),
    "columns of another format in a mix": (
        {"dataset": {"mix": [{"source": "pvc://data/a", "format": "instruction", "columns": {"text": "body"}}]}},
        "columns of format instruction are instruction, input, output, system; remove the others",
    ),
    "a template for what is no chat": (
        {"dataset": {"source": "pvc://data/a", "format": "prompt-completion", "chatTemplate": "x"}},
        "chatTemplate renders chats; remove it, or write format: messages or instruction",
    ),
    "double quantisation of nothing": (
        {"quantization": {"type": "none", "doubleQuant": True}},
        "doubleQuant: true needs a base in 4 bits",
    ),
    "float16 on a CPU": (
        {"quantization": {"computeDtype": "float16"}},
        "quantization.computeDtype: float16 needs a GPU; write bfloat16 or float32",
    ),
    "output into the model": (
        {"output": {"destination": "pvc://models/tiny/out"}},
        "output.destination lies inside model.source",
    ),
    "output onto the dataset": (
        {"output": {"destination": "pvc://data/train.jsonl"}},
        "output.destination lies inside dataset.source",
    ),
    "output into a part of the mix": (
        {
            "dataset": {"mix": [{"source": "pvc://data/a"}, {"source": "pvc://results/b"}]},
            "output": {"destination": "pvc://results/b/out"},
        },
        "output.destination lies inside a source of dataset.mix",
    ),
    "a store of nothing": (
        {"objectStorage": {"region": "eu-central-1"}},
        "objectStorage is for s3:// locations; remove it, or write s3://bucket/prefix as a source or destination",
    ),
    "a store with a path": (
        {"model": {"source": "s3://models/tiny"}, "objectStorage": {"endpoint": "https://store.example/minio"}},
        "write an address without a path, such as https://minio.example.com:9000",
    ),
    "a bucket with capitals": ({"model": {"source": "s3://Models/tiny"}}, "s3://bucket/prefix"),
    "an image without a tag": ({"model": {"source": "oci://host:5000/llama"}}, "oci://registry/name:tag/path"),
    "output into the bucket of a dataset": (
        {
            "dataset": {"source": "s3://data/"},
            "output": {"destination": "s3://data/out"},
            "objectStorage": {"credentialsSecret": "store"},
        },
        "output.destination lies inside dataset.source",
    ),
    "output to a store that nobody may write to": (
        {"output": {"destination": "s3://results/out"}},
        "s3:// can only be written with credentials; write objectStorage.credentialsSecret",
    ),
    "output to a whole bucket": (
        {"output": {"destination": "s3://results"}, "objectStorage": {"credentialsSecret": "store"}},
        "write pvc://claim/path or s3://bucket/prefix",
    ),
    "a push without a token": (
        {"output": {"destination": "pvc://results/out", "pushTo": "hf://org/name"}},
        "pushTo and tokenSecret belong together; write both, or neither",
    ),
    "a push to no organisation": (
        {"output": {"destination": "pvc://results/out", "pushTo": "hf://name", "tokenSecret": "hub"}},
        "write hf://organisation/name",
    ),
    "output to a hub": ({"output": {"destination": "hf://a/b"}}, "write pvc://claim/path or s3://bucket/prefix"),
    "memory with a blank": (
        {"node": {"accelerator": "cpu", "resources": {"memory": "3 GB"}}},
        "write a quantity of memory such as 64Gi or 512Mi",
    ),
    "accelerator without a domain": ({"node": {"accelerator": "gpu"}}, "write cpu, or the name of a device resource"),
    "duration without a unit": (
        {"checkpoint": {"every": "60"}},
        "write a duration of a second or more, such as 90s, 5m, 1h30m or 7d",
    ),
    "time of nothing": (
        {"runPolicy": {"activeDeadline": "0s"}},
        "write a duration of a second or more, such as 90s, 5m, 1h30m or 7d",
    ),
    "memory in thousandths": (
        {"node": {"accelerator": "cpu", "resources": {"memory": "3m"}}},
        "write a quantity of memory such as 64Gi or 512Mi",
    ),
    "image with a blank": (
        {"node": {"image": "my image"}},
        "write an image such as ghcr.io/you/qlora-trainer:0.1.0",
    ),
    "targets with blanks": ({"adapter": {"targets": "q_proj, v_proj"}}, "names of modules separated by commas"),
    "priority class without a queue": (
        {"priorityClass": "urgent"},
        "priorityClass orders the jobs of a queue; write queueName as well, or remove priorityClass",
    ),
    "queue that is no name": ({"queueName": "Team A"}, "write the name of an object of Kueue: at most 63"),
    "a method that there is not": (
        {"adapter": {"method": "lokr"}},
        'Unsupported value: "lokr": supported values: "lora"',
    ),
    "parameter of another method": (
        {"adapter": {"method": "ia3", "rank": 8}},
        "rank is for method lora, rslora, dora",
    ),
    "prefix tuning that computes activations again": (
        {"adapter": {"method": "prefix-tuning"}},
        "adapter.method: prefix-tuning cannot compute activations again; write training.gradientCheckpointing: false",
    ),
    "LoftQ without quantisation": (
        {"adapter": {"method": "loftq"}, "quantization": {"type": "none"}},
        "write method: lora with quantization.type: none",
    ),
    "a token twice over": (
        {"adapter": {"trainableTokens": ["<a>"], "modulesToSave": "norm,model.lm_head"}},
        "modulesToSave trains all tokens with the embeddings or the output layer; remove trainableTokens",
    ),
    "storage type of eight bits": (
        {"quantization": {"type": "int8", "storageDtype": "bfloat16"}},
        "storageDtype is for a base in 4 bits",
    ),
    "virtual tokens before packed rows": (
        {"adapter": {"method": "p-tuning"}, "training": {"packing": True}},
        "virtual tokens would stand before the first row of a sequence only; write training.packing: false",
    ),
    "AdaLoRA with ZeRO-3": (
        {"adapter": {"method": "adalora"}, "deepspeed": {"zeroStage": 3}},
        "adapter.method: adalora needs whole gradients; write deepspeed.zeroStage: 2",
    ),
    "virtual tokens in the weights": (
        {
            "adapter": {"method": "p-tuning"},
            "output": {"destination": "pvc://results/out", "merge": True},
        },
        "output.merge: vectors before the text are no part of the weights; write output.merge: false, or "
        "adapter.method: lora",
    ),
    "LoftQ without what it makes up for": (
        {"adapter": {"method": "loftq"}, "output": {"destination": "pvc://results/out", "merge": True}},
        "output.merge: loftq makes up for what quantisation loses, which a merged model has not lost; write "
        "adapter.method: lora",
    ),
    "a merged output layer": (
        {
            "adapter": {"modulesToSave": "norm,lm_head"},
            "output": {"destination": "pvc://results/out", "merge": True},
        },
        "output.merge: embeddings and output layers that were trained whole may share a weight",
    ),
    "eight bits with ZeRO-3": (
        {"quantization": {"type": "int8"}, "deepspeed": {"zeroStage": 3}},
        "quantization.type: int8 stays whole on every rank, so ZeRO-3 saves nothing",
    ),
    "an optimizer on the host that every rank has whole": (
        {"deepspeed": {"zeroStage": 0, "offloadOptimizer": "cpu"}},
        "offloadOptimizer: cpu needs zeroStage 1 or more",
    ),
    "parameters on the host without ZeRO-3": (
        {"deepspeed": {"zeroStage": 2, "offloadParameters": "cpu"}},
        "offloadParameters: cpu needs zeroStage 3",
    ),
    "a paged optimizer without a GPU": (
        {"training": {"optimizer": "paged-adamw"}},
        "training.optimizer: paged and 8-bit optimizers need a GPU; write optimizer: adamw",
    ),
    "pages and the host": (
        {
            "training": {"optimizer": "paged-adamw-8bit"},
            "deepspeed": {"offloadOptimizer": "cpu"},
            "node": {"accelerator": "nvidia.com/gpu"},
        },
        "paged and 8-bit optimizers step on the GPU; write offloadOptimizer: none",
    ),
    "an evaluation of nothing": ({"evaluation": {"everySteps": 5}}, "write source for rows of their own, or fraction"),
    "held-out rows from two places": (
        {"evaluation": {"source": "pvc://data/b", "fraction": 0.1}},
        "write source for rows of their own, or fraction",
    ),
    "more than a half held out": (
        {"evaluation": {"fraction": 0.6}},
        "spec.evaluation.fraction in body should be less than or equal to 0.5",
    ),
    "nothing held out": ({"evaluation": {"fraction": 0}}, "spec.evaluation.fraction in body should be greater than 0"),
    "a format of rows that are split off": (
        {"evaluation": {"fraction": 0.1, "format": "text"}},
        "files, columns and format belong to a source; remove them, or write source instead of fraction",
    ),
    "held-out rows that climb": ({"evaluation": {"source": "pvc://data/../b"}}, "source must not contain '..'"),
    "columns that held-out texts do not have": (
        {"evaluation": {"source": "pvc://data/b", "format": "text", "columns": {"prompt": "p"}}},
        "columns of format text are text",
    ),
    "output among the held-out rows": (
        {"evaluation": {"source": "pvc://results"}, "output": {"destination": "pvc://results/out"}},
        "output.destination lies inside evaluation.source; write another folder",
    ),
    "AdaLoRA that ends early": (
        {"adapter": {"method": "adalora"}, "evaluation": {"fraction": 0.1, "earlyStopping": {}}},
        "adalora has the rank that was asked for only at its last steps; write evaluation.export: last",
    ),
    "an address that is none": (
        {"reporting": {"mlflow": {"trackingUri": "mlflow.example.org"}}},
        "write an address such as https://mlflow.example.org",
    ),
    "ZeRO stage 4": ({"deepspeed": {"zeroStage": 4}}, "spec.deepspeed.zeroStage in body should be less than or equal"),
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "a mix": {
        "source": None,
        "mix": [
            {"source": "pvc://data/a", "weight": 0.5, "files": "data/train-*.parquet"},
            {"source": "hf://org/b", "format": "text", "columns": {"text": "body"}},
        ],
        "format": "instruction",
        "columns": {"instruction": "task", "text": "body"},
        "chatTemplate": "{{ messages }}",
        "loss": "completion",
    },
    "chats with other names": {
        "source": "pvc://data/a.json",
        "columns": {"messages": "conversations", "role": "from", "content": "value", "system": "system"},
    },
}
