"""Where a command begins: at the state that the last one has left, or anew."""

from __future__ import annotations

from datetime import UTC, datetime

from qlora_api.status import Phase, QLoRAJobStatus
from qlora_cli import record
from qlora_cli.check import Refused, check_job
from qlora_cli.work_folder import Body, WorkFolder, new_uid


def begin(folder: WorkFolder, body: Body, is_new: bool) -> tuple[str, QLoRAJobStatus]:
    """UID and status of the job: those of the last command, unless there is nothing to go on from.

    Raises:
        Refused: the file has changed what cannot change once the job has trained.
    """
    known = None if is_new else folder.read()
    if known is not None:
        status = record.closed(QLoRAJobStatus.model_validate(known["status"]), datetime.now(UTC))
        try:
            check_job(body, {**known, "status": {**status.to_json(), "phase": Phase.SUSPENDED}})  # no pods run
        except Refused as refused:
            if record.has_trained(status):
                raise Refused([f"{fault} (on this machine: write --new)" for fault in refused.faults]) from refused
        else:
            return known["metadata"]["uid"], status
    folder.remove_attempts()
    return new_uid(), QLoRAJobStatus()
