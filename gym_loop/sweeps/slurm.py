"""Slurm, asked and told through its own commands; jobs are submitted by submitit.

`squeue` is what counts: it knows at once what waits and runs. `sacct`, which may answer late or not
at all, only adds how a job ended that `squeue` has forgotten. submitit's cluster `local`, which is
this machine, is asked through `ps`.
"""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gym_loop.mistake import Mistake
from gym_loop.sweeps.directory import Job
from gym_loop.sweeps.job import Outcome, reason_of
from gym_loop.sweeps.submitted import (
    ENDED,
    FOLDER,
    PENDING,
    RUNNING,
    Handed,
    Record,
    Where,
    last_line,
)

NAME = "slurm"
COMMANDS = ("sbatch", "srun", "squeue", "scancel")
STATES = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"), PENDING),
    **dict.fromkeys(("RESV_DEL_HOLD", "SPECIAL_EXIT"), PENDING),
    **dict.fromkeys(("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING"), RUNNING),
    **dict.fromkeys(("SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"), RUNNING),
}
# How a job ended that has left no result. Of any other end it has left one, or is to blame.
ENDS = {
    "CANCELLED": Outcome("stopped", reason="cancelled"),
    "TIMEOUT": Outcome("failed", reason="over its time limit"),
    "DEADLINE": Outcome("failed", reason="over its time limit"),
    "OUT_OF_MEMORY": Outcome("failed", reason="out of memory"),
}
LOSSES = ("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "PREEMPTED", "REVOKED")  # no fault of the job
MAX_ARRAY_SIZE = 1001  # Slurm's default
AT_ONCE = 5000  # ids on one command line
PATIENCE = 60.0  # seconds that a command may take: they wait for a busy controller themselves


def check(cluster: str) -> None:
    """Check that jobs can be submitted from here.

    Raises:
        Mistake: names what is missing.
    """
    if cluster not in ("slurm", "local"):
        raise Mistake(
            f"hydra.launcher.cluster={cluster}; expected slurm, or local to try it on this machine"
        )
    missing = [name for name in COMMANDS if cluster == "slurm" and not shutil.which(name)]
    if missing:
        raise Mistake(
            f"no {missing[0]} on this machine: hydra/launcher=slurm submits from where Slurm is; "
            "hydra.launcher.cluster=local tries it without"
        )


def submit(
    record: Record,
    jobs: Sequence[Job],
    packed: Sequence[bytes],
    common: bytes,
    cluster: str,
    max_num_timeout: int,
    parameters: Mapping[str, Any],
) -> None:
    """Submit `jobs` as an array; for the holder of the record's lock.

    Args:
        record: where submissions are written down.
        jobs: as many as an array may have.
        packed: their configs.
        common: what all jobs share.
        cluster: `slurm`, or submitit's `local`.
        max_num_timeout: how often a job that reaches its time limit is requeued.
        parameters: of submitit's `AutoExecutor.update_parameters`; null: its default.

    Raises:
        Mistake: Slurm refuses them.
    """
    import submitit

    from gym_loop.sweeps.engines import Requeued

    logging.getLogger("submitit").setLevel(logging.WARNING)
    known = {name: value for name, value in parameters.items() if value is not None}
    # A Ctrl-C at the terminal reaches what is started here, too.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        number = record.begin(NAME, cluster, jobs)
        folder = record.folder(number)
        (folder / "common").write_bytes(common)  # once, and not in every job
        executor = submitit.AutoExecutor(
            folder, cluster=cluster, slurm_max_num_timeout=max_num_timeout
        )
        executor.update_parameters(**known)
        submitted = executor.map_array(Requeued(folder / "common"), packed)
        record.end(number, [each.job_id for each in submitted])
    except (RuntimeError, ValueError, NameError, OSError) as error:
        raise Mistake(f"{cluster}: {reason_of(error)}") from None
    finally:
        signal.signal(signal.SIGINT, handler)


def told(*command: str) -> "subprocess.CompletedProcess[str]":
    """Return how a command of Slurm's has ended, and what it has said.

    Raises:
        Mistake: it is not there, or does not answer.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except OSError as error:
        why = error.strerror
    except subprocess.TimeoutExpired:
        why = f"no answer in {PATIENCE:g} seconds"
    raise Mistake(f"{command[0]}: {why}")


def max_array_size() -> int:
    """Return how many jobs an array may have here."""
    try:
        said = told("scontrol", "show", "config").stdout
    except Mistake:
        return MAX_ARRAY_SIZE
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
    return max(int(found[1]), 1) if found else MAX_ARRAY_SIZE


def find_ids(folder: Path, count: int) -> list[str]:
    """Return the ids of a submission's `count` jobs whose launcher was killed as it submitted.

    A job whose pickle is not there cannot start: it counts as never submitted.
    """
    found = [path.name.removesuffix("_submitted.pkl") for path in folder.glob("*_submitted.pkl")]
    array = next((name.partition("_")[0] for name in found if "_" in name), None)
    return [f"{array}_{index}" for index in range(count)] if array else found


def where(directory: Path, handed: Collection[Handed]) -> dict[Handed, Where]:
    """Return where jobs are; those that nobody knows any more are left out.

    Raises:
        Mistake: `squeue` does not answer.
    """
    jobs = [job for job in handed if re.fullmatch(r"\d+(_\d+)?", job.id)]
    local = {job.id: job for job in jobs if job.cluster == "local"}
    remote = {job.id: job for job in jobs if job.cluster != "local"}
    known = ask_ps(local) if local else {}
    found = {local[name]: at for name, at in known.items()}
    if remote:
        said = ask_squeue(arrays(remote))
        unknown = remote.keys() - said.keys()
        if unknown:
            said = {**ask_sacct(arrays(unknown)), **said}
        found |= {remote[name]: at for name, at in said.items() if name in remote}
    return found


def arrays(ids: Collection[str]) -> list[str]:
    """Return the ids of the jobs' arrays: there are fewer, which a command line can hold."""
    return sorted({own.partition("_")[0] for own in ids})


def ask_squeue(ids: Sequence[str]) -> dict[str, Where]:
    """Return what `squeue` says of the jobs of arrays."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%N"]
    found: dict[str, Where] = {}
    for start in range(0, len(ids), AT_ONCE):
        chosen = f"--jobs={','.join(ids[start : start + AT_ONCE])}"
        try:
            done = told(*command, chosen)
        except Mistake as mistake:
            raise Mistake(
                f"cannot ask for the jobs that were submitted to Slurm: {mistake.message}"
            ) from None
        if done.returncode and "Invalid job id" not in done.stderr:  # it has forgotten them all
            line = " ".join(done.stderr.split())
            raise Mistake(f"cannot ask for the jobs that were submitted to Slurm: {line}")
        found |= read_states(done.stdout)
    return found


def ask_sacct(ids: Sequence[str]) -> dict[str, Where]:
    """Return what the accounting says of jobs that have ended; nothing where there is none."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2"]
    command += ["--format=JobID,State,NodeList", f"--jobs={','.join(ids)}"]
    try:
        done = told(*command)
    except Mistake:
        return {}
    # What squeue does not know does not run, whatever the accounting still believes.
    said = read_states(done.stdout)
    return {name: at for name, at in said.items() if at.state == ENDED}


def read_states(text: str) -> dict[str, Where]:
    """Return what lines such as `12_3|RUNNING|node7` say."""
    found = {}
    for line in text.splitlines():
        name, said, node, *_ = (*line.strip().split("|"), "", "")
        said = said.partition(" ")[0].rstrip("+")  # CANCELLED by 1000
        state = STATES.get(said, ENDED)
        has_node = state != PENDING and not node.startswith("None")  # None assigned
        found[name] = Where(state, node if has_node else "", said)
    return found


def ask_ps(ids: Collection[str]) -> dict[str, Where]:
    """Return which of submitit's local controllers are there."""
    command = ["ps", "-o", "pid=,args=", "-p", ",".join(ids)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    names = [line.split()[0] for line in lines if "submitit" in line]
    return {name: Where(RUNNING, socket.gethostname()) for name in names}


def outcome(at: Where) -> Outcome | None:
    """Return what came of a job that has ended without a result; None: its result may be late."""
    if at.said in LOSSES:
        return Outcome("lost", reason=f"{at.said} on {at.node}" if at.node else at.said)
    if ending := ENDS.get(at.said):
        return Outcome(ending.state, reason=ending.reason)
    return None


def last_word(directory: Path, job: Handed, at: Where | None) -> Outcome:
    """Return what came of a job of which no result is to be expected any more."""
    if at is None:
        return Outcome("lost", reason=f"neither running nor ended: Slurm does not know {job.id}")
    log = directory / FOLDER / str(job.submission) / f"{job.id}_0_log.err"
    try:
        said = last_line(log.read_text(errors="replace"))
    except OSError:
        said = ""
    return Outcome("failed", reason=said or f"left no result (Slurm: {at.said})")


def cancel(directory: Path, jobs: Collection[Handed]) -> None:
    """Take back jobs that wait, and stop those that run as Slurm stops them: SIGTERM, then SIGKILL.

    Raises:
        Mistake: `scancel` refuses.
    """
    for job in jobs:
        if job.cluster == "local":
            os.kill(int(job.id), signal.SIGTERM)
    ids = [job.id for job in jobs if job.cluster != "local"]
    for start in range(0, len(ids), AT_ONCE):
        done = told("scancel", *ids[start : start + AT_ONCE])
        if done.returncode:
            raise Mistake(f"scancel: {' '.join(done.stderr.split())}")
