"""`spec.quantization`: how the base lies in memory."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from qlora_api.base import ApiModel, rules


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
            (
                "self.type != 'none' || !has(self.frozenTowers) || !self.frozenTowers",
                "frozenTowers: true quantises, and type: none does not; write type: nf4, or remove frozenTowers",
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
    frozen_towers: bool | None = None
    """With a vision-language model: quantise the parts that adapter.towers does not name too, which saves memory. One
    that is trained with method: full is never quantised. Default: false."""
