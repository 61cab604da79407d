"""The job file on a real Slurm of two nodes, both on this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
JOB = Path(__file__).parents[2] / "cluster" / "slurm" / "jwpipe.sbatch"
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg=/bin/true
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=one,two Default=YES State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which two idle nodes are found."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if lacking or os.getuid():
        pytest.skip("needs root and Debian's slurmctld, slurmd, slurm-client and munge")
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, ports=free_ports(3))
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    for name in ("state", "spool-one", "spool-two"):
        (folder / name).mkdir()
    environment = os.environ | {"PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")] + [
        f"--socket={folder}/munge.socket"
    ]
    daemons = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", "one"],
        ["slurmd", "-D", "-N", "two"],
    ]
    started = []
    try:
        for daemon in daemons:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(daemon, env=environment, **quiet))
            time.sleep(1)
        if not idle(environment):
            logs = "".join(path.read_text()[-500:] for path in folder.glob("*.log"))
            pytest.skip(f"no Slurm can be started here: {logs}")
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def idle(environment: dict[str, str]) -> bool:
    """Whether both nodes are there within half a minute."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        told = subprocess.run(
            ["sinfo", "--noheader", "--format=%D %t"],
            env=environment,
            capture_output=True,
            text=True,
        ).stdout
        if told.split() == ["2", "idle"]:
            return True
        time.sleep(0.5)
    return False


@pytest.fixture
def submit(slurm, environment, tmp_path):
    """Submit a job on both nodes and wait for it: its exit status, and what it printed."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("jwpipe.cli", "dask"):
        command = commands / name.partition(".")[0]
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m {name} "$@"\n')
        command.chmod(0o755)
    settings = {"SLURM_CONF": slurm["SLURM_CONF"], "PATH": f"{commands}{os.pathsep}{PATH}"}

    def run(*words) -> tuple[int, str]:
        output = tmp_path / "job.out"
        options = ["--wait", "--cpus-per-task=1", "--mem=0", f"--output={output}"]
        ran = subprocess.run(
            ["sbatch", *options, JOB, *map(str, words)],
            env=environment | settings | {"JWPIPE_THREADS": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return ran.returncode, output.read_text() if output.exists() else ran.stderr

    return run


def test_a_job_on_two_nodes(submit, uncal, refs, tmp_path):
    status, told = submit("run", "superbias", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    assert status == 0, told
    assert "1 done, 0 failed" in told
    assert "error" not in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == [
        uncal[0].name.replace("uncal", "superbias")
    ]
    assert not list(tmp_path.glob(".jwpipe-job-*"))


def test_the_job_fails_as_the_run_does(submit, tmp_path):
    status, told = submit("run", "detektor1", "x.fits")
    assert status == 2, told
    assert "did you mean 'detector1'?" in told
    assert not list(tmp_path.glob(".jwpipe-job-*"))
