"""What the API server does with a QLoRAJob: defaults are filled in, and a wrong job is refused in the same words."""

from qlora_cli.check.job import check_job
from qlora_cli.check.read import read_job
from qlora_cli.check.refused import Refused

__all__ = ["Refused", "check_job", "read_job"]
