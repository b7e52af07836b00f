"""The user's own DeepSpeed configuration, `deepspeed.config`, made one with the job.

Each figure has one source. What both can say is taken into the job where the job has left its default, and must be the
same otherwise; `auto` means the job's. What only DeepSpeed knows is handed on. What would change how the trainer works
is refused.
"""

from qlora_trainer.deepspeed_config.handed_on import adam_parameters, communication_data_type, handed_on
from qlora_trainer.deepspeed_config.merge import with_deepspeed_config
from qlora_trainer.deepspeed_config.zero import zero_options

__all__ = ["adam_parameters", "communication_data_type", "handed_on", "with_deepspeed_config", "zero_options"]
