"""The command line as a process: bars on a terminal, lines elsewhere, interrupts, and an answer at once."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

LOG_LINE = re.compile(r"^\d\d:\d\d:\d\d \S")


def test_help_answers_at_once():
    """The best of three, less what Python itself needs: this machine may be busy."""
    code = "import sys; sys.argv[1:] = ['--help']; from jwpipe.cli import main; main()"
    best = min(_cpu_seconds([sys.executable, "-c", code]) for _ in range(3))
    bare = min(_cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    assert best - bare < 0.3


def _cpu_seconds(command):
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    own = after.children_user + after.children_system
    return own - before.children_user - before.children_system


def test_elsewhere_there_are_plain_lines(process, environment, tiny, refs, tmp_path):
    words = (
        "run",
        "detector1,image2,image3",
        tiny.folder / "uncal",
        "--refs",
        refs,
        "-o",
        tmp_path,
    )
    ran = process(*words, env=environment, stderr=subprocess.PIPE)
    table, log = ran.communicate(timeout=300)
    assert ran.returncode == 0, log
    lines = log.splitlines()
    assert all(LOG_LINE.match(line) for line in lines), log
    assert "\x1b" not in log
    assert sum("detector1,image2 done in" in line for line in lines) == 3
    assert not any("imalign" in line or "Warning" in line for line in lines)
    assert re.search(r"4 done, 0 failed in \d+\.\d s; peak memory of a process \d+ MiB", table)


def on_terminal(command, environment):
    """The exit status of a command and what it printed on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    sizes = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    ran = subprocess.Popen(
        command, env=environment | sizes, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    text = b""
    while True:
        ready, _, _ = select.select([leader], [], [], 0.5)
        try:
            part = os.read(leader, 1 << 16) if ready else b""
        except OSError:
            break
        text += part
        if ran.poll() is not None and not part:
            break
    os.close(leader)
    return ran.wait(), text.decode()


def test_on_a_terminal_there_are_bars_and_whole_names(environment, uncal, refs, tmp_path):
    words = ["run", "detector1", *uncal[:2], "--refs", refs, "-o", tmp_path]
    command = [sys.executable, "-m", "jwpipe.cli", *map(str, words)]
    status, text = on_terminal(command, environment)
    assert status == 0, text
    assert "━" in text
    assert "left" in text
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    end = shown[shown.rindex("stage") :]
    for path in uncal[:2]:
        assert f"{path.name.replace('uncal', 'rate')} " in end
    assert all(len(line) <= 80 for line in end.splitlines() if "peak" not in line)


def wait_for_draft(folder, ran):
    until = time.monotonic() + 120
    while time.monotonic() < until and ran.poll() is None:
        if folder.exists() and any(".tmp-" in path.name for path in folder.iterdir()):
            return
        time.sleep(0.05)
    raise AssertionError("nothing was written")


@pytest.mark.parametrize(("number", "form"), [(signal.SIGINT, "fits"), (signal.SIGTERM, "zarr")])
def test_an_interrupt_leaves_nothing_unfinished(
    process, environment, uncal, refs, tmp_path, number, form
):
    words = ("run", "detector1", *uncal, "--refs", refs, "-o", tmp_path / "out", "--format", form)
    ran = process(*words, "--set", 'jump.post_hooks=["mine.slow"]', env=environment)
    wait_for_draft(tmp_path / "out", ran)
    time.sleep(0.5)
    ran.send_signal(number)
    text, _ = ran.communicate(timeout=60)
    assert ran.returncode == 1
    assert text.splitlines()[-1] == "jwpipe: interrupted; nothing unfinished was left behind"
    assert "Traceback" not in text
    assert list((tmp_path / "out").iterdir()) == []
