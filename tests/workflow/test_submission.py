"""What reaches a shell when jobs are submitted: the real plugin, with an sbatch that only notes what it is given."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from attacks import attacks
from mini_study import ROOT

_SBATCH = """#!/bin/sh
printf '%s\\0' "$@" > {folder}/arguments
cat > {folder}/script
echo "no more than noted" >&2
exit 1
"""


@attacks("shell")
def test_no_shell_reads_the_name_of_a_study(mini, tmp_path_factory, attack):
    programs = tmp_path_factory.mktemp("programs")
    for name in ("sbatch", "squeue", "sacct", "sacctmgr", "sinfo", "sshare"):
        (programs / name).write_text(
            _SBATCH.format(folder=programs) if name == "sbatch" else "#!/bin/sh\necho lab\n"
        )
        (programs / name).chmod(0o755)
    study = mini.folder / attack["file"]
    mini.write().rename(study)
    value = attack.get("value", "data")
    if value != "data":
        (mini.folder / value).symlink_to("data")
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(mini.folder),
        "--profile", str(ROOT / "profiles/slurm"), "--workflow-profile", "none", "--retries", "0", "--jobs", "1",
        "--until", "prepare_concepts", "--default-resources", "slurm_account=lab", "mem_mb=100", "runtime=1",
        "--slurm-init-seconds-before-status-checks", "1", "--configfile", str(study), "--config", f"data={value}",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=mini.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "no more than noted" in done.stdout + done.stderr, done.stderr[-3000:]
    assert not (mini.folder / "run").exists()
    assert b"$(" not in (programs / "arguments").read_bytes()
    # The script is one command, and a shell on the node reads these names as they are.
    words = shlex.split((programs / "script").read_text(), comments=True)
    assert any(attack["file"] in word for word in words)
    assert any(word.endswith(value) for word in words)
