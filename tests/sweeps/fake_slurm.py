"""A Slurm of one machine: `sbatch`, `srun`, `squeue`, `sacct`, `scancel`, `scontrol` on PATH.

Each task is a process of its own. The folder that FAKE_SLURM names holds a JSON file for each, and
switches that a test sets: `hold` keeps tasks pending, `no_accounting` silences sacct, `down` makes
the controller unreachable, `max_array_size` is what the site allows, `calls` lists the commands.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_SLURM", "."))
NODE = "node7"
KILL_WAIT = 10  # seconds from SIGTERM to SIGKILL


def install(directory):
    """Put the commands into `directory`; return the environment that finds them."""
    commands, state = directory / "bin", directory / "slurm"
    commands.mkdir(parents=True)
    state.mkdir()
    for name in ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol"):
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {name} "$@"\n')
        path.chmod(0o755)
    return {"PATH": f"{commands}:{os.environ['PATH']}", "FAKE_SLURM": str(state)}


def tasks(folder=None):
    """The state of each task, by its id."""
    found = sorted((folder or FOLDER).glob("*.json"), key=lambda path: path.stat().st_ctime_ns)
    return {path.stem: json.loads(path.read_text()) for path in found}


def write(name, folder=None, **content):
    path = (folder or FOLDER) / f"{name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(known | content))
    temporary.replace(path)


def end(name, state, folder=None):
    """Let a task end as `state`, at once and with all that it has started."""
    pid = tasks(folder)[name]["pid"]
    write(name, folder, state=state)
    if pid:
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(pid, signal.SIGKILL)


def end_all(folder):
    """Let all tasks end, also those that wait."""
    for name, task in tasks(folder).items():
        if task["pid"] or task["state"] == "PENDING":
            end(name, "CANCELLED", folder)


def forget(name, folder):
    """Let squeue know a task no more, as it does some minutes after its end."""
    write(name, folder, forgotten=True)


def sbatch(arguments):
    script = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    count = int(re.match(r"0-(\d+)", options["array"])[1]) + 1 if "array" in options else 0
    limit = FOLDER / "max_array_size"
    if limit.exists() and count > int(limit.read_text()):
        sys.exit("sbatch: error: Batch job submission failed: Invalid job array specification")
    number = len([line for line in (FOLDER / "calls").read_text().split("\n") if "sbatch" in line])
    number += 1000
    names = [f"{number}_{index}" for index in range(count)] or [str(number)]
    for name in names:
        write(name, state="PENDING", pid=0, script=script, options=options)
        run_in_background(name)
    print(f"Submitted batch job {number}")


def run_in_background(name):
    subprocess.Popen(
        [sys.executable, "-S", __file__, "task", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def task(arguments):
    """Wait until the task may start, run it, and note how it ended; what slurmd does."""
    [name] = arguments
    while (FOLDER / "hold").exists() and FOLDER.exists():
        if tasks()[name]["state"] != "PENDING":
            return
        time.sleep(0.05)
    own = tasks()[name]
    if own["state"] != "PENDING":
        return
    array, _, index = name.partition("_")
    env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    env |= {"SLURM_JOB_ID": array, "SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": NODE}
    env |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index} if index else {}
    output = own["options"]["output"].replace("%A", array).replace("%a", index).replace("%j", array)
    with open(output, "a") as file:
        process = subprocess.Popen(
            ["bash", "-c", own["script"]], env=env, stdout=file, stderr=file, start_new_session=True
        )
    write(name, state="RUNNING", pid=process.pid)
    deadline = None
    while (code := process.poll()) is None:
        time.sleep(0.05)
        if deadline is None and tasks()[name]["state"].startswith("CANCELLED"):
            deadline = time.monotonic() + KILL_WAIT
        if deadline is not None and time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    state = tasks()[name]["state"]
    if state == "REQUEUED":
        write(name, state="PENDING", pid=0)
        task(arguments)
    elif state == "RUNNING":
        write(name, state="FAILED" if code else "COMPLETED", pid=0)
    else:
        write(name, pid=0)


def srun(arguments):
    words = iter(arguments)
    paths, command = {}, []
    for word in words:
        if word in ("--output", "--error"):
            paths[word] = next(words)
        elif not word.startswith("--") or command:
            command.append(word)
    index = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    for descriptor, option in ((1, "--output"), (2, "--error")):
        path = paths[option].replace("%A", os.environ["SLURM_JOB_ID"]).replace("%a", index)
        path = path.replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), descriptor)
    os.execvp(command[0], command)


def chosen(arguments):
    """The ids that --jobs names, whole arrays included, and their tasks."""
    [words] = [word.partition("=")[2] for word in arguments if word.startswith("--jobs=")]
    ids = words.split(",")
    return [(n, t) for n, t in tasks().items() if n in ids or n.partition("_")[0] in ids]


def squeue(arguments):
    if (FOLDER / "down").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    known = [(name, own) for name, own in chosen(arguments) if not own.get("forgotten")]
    if not known:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    for name, own in known:
        print(f"{name}|{own['state']}|{'' if own['state'] == 'PENDING' else NODE}")


def sacct(arguments):
    if not (FOLDER / "no_accounting").exists():
        for name, own in chosen(arguments):
            print(f"{name}|{own['state']}|{NODE}")


def scancel(arguments):
    for name, own in tasks().items():
        if name in arguments or name.partition("_")[0] in arguments:
            if own["pid"] and own["state"] == "RUNNING":
                write(name, state="CANCELLED by 1000")
                os.killpg(own["pid"], signal.SIGTERM)
            elif own["state"] == "PENDING":
                write(name, state="CANCELLED by 1000")


def scontrol(arguments):
    if arguments == ["show", "config"]:
        path = FOLDER / "max_array_size"
        print(f"MaxArraySize            = {path.read_text() if path.exists() else 1001}")
    elif arguments[0] == "requeue":
        write(arguments[1], state="REQUEUED")


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    with open(FOLDER / "calls", "a") as file:
        file.write(f"{command} {' '.join(words)}\n" if command != "task" else "")
    globals()[command](words)
