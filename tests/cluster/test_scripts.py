"""The job files of ``cluster/``: their shell is right, and with stand-ins for srun and ssh they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
SCRIPTS = {"slurm/jwpipe.sbatch": "srun", "ssh/jwpipe-ssh": "ssh"}
# They drop their own options (and ssh the host), and run the rest here.
STAND_INS = {
    "srun": 'while [[ "$1" == -* ]]; do shift; done; exec "$@"',
    "ssh": 'while [[ "$1" == -* ]]; do [[ "$1" == -o ]] && shift; shift; done; shift; exec "$@"',
    "jwpipe": 'exec "$PYTHON" -m jwpipe.cli "$@"',
    "dask": 'exec "$PYTHON" -m dask "$@"',
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_is_right(script):
    subprocess.run(["bash", "-n", CLUSTER / script], check=True)
    assert os.access(CLUSTER / script, os.X_OK)


def run(script, folder, environment, words, **stand_ins):
    commands = folder / "commands"
    commands.mkdir()
    for name, body in (STAND_INS | stand_ins).items():
        (commands / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (commands / name).chmod(0o755)
    settings = {
        "PATH": f"{commands}{os.pathsep}{environment['PATH']}",
        "PYTHON": sys.executable,
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_CPUS_PER_TASK": "1",
        "HOSTS": "one",
        "JWPIPE_HOST": "127.0.0.1",
        "JWPIPE_THREADS": "1",
        "TMPDIR": str(folder),
    }
    command = ["bash", CLUSTER / script, *map(str, words)]
    return subprocess.run(
        command, env=environment | settings, capture_output=True, text=True, timeout=300
    )


def test_a_slurm_job_runs_and_leaves_nothing(environment, uncal, refs, tmp_path):
    words = ("run", "superbias", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    ran = run("slurm/jwpipe.sbatch", tmp_path, environment, words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(list((tmp_path / "out").glob("*_superbias.fits"))) == 1
    assert not list(tmp_path.glob(".jwpipe-job-*"))


# Writes the file by which the scheduler is found, or tells how the worker was called.
IDLE = """
if [[ $1 == scheduler ]]
then while [[ $1 != --scheduler-file ]]; do shift; done; echo '{"address": "tcp://here:1"}' > "$2"
else echo "dask $*" >&2
fi
exec sleep 60
"""


def test_the_end_of_a_job_is_that_of_the_run(environment, tmp_path):
    words = ("run", "detektor1", "x.fits")
    ran = run("slurm/jwpipe.sbatch", tmp_path, environment, words, dask=IDLE)
    assert ran.returncode == 2
    assert "did you mean 'detector1'?" in ran.stderr
    assert not list(tmp_path.glob(".jwpipe-job-*"))


def test_workers_are_started_by_ssh(environment, tmp_path):
    told = 'sleep 1; echo "jwpipe $*"; exit 1'
    ran = run("ssh/jwpipe-ssh", tmp_path, environment, ("run", "a b"), dask=IDLE, jwpipe=told)
    assert ran.returncode == 1
    assert ran.stdout == "jwpipe run a b --scheduler tcp://here:1\n"
    assert "dask worker tcp://here:1 --nworkers 1 --nthreads 1" in ran.stderr


def test_kubernetes_files_fit_each_other():
    values = yaml.safe_load((CLUSTER / "kubernetes" / "values.yaml").read_text())
    job = yaml.safe_load((CLUSTER / "kubernetes" / "job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = container["volumeMounts"][0]["mountPath"]
    assert mounted == values["worker"]["mounts"]["volumeMounts"][0]["mountPath"]
    assert pod["volumes"] == values["worker"]["mounts"]["volumes"]
    paths = [word.partition("=")[2] or word for word in container["args"] if "/data" in word]
    assert all(path.startswith(mounted) for path in paths)
