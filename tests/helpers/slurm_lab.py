"""A real Slurm on this machine: its own munge, controller and three nodes, on loopback, in one folder.

Two nodes make the partition ``cpu``, one with two pretended GPUs (device files that every machine has) the
partition ``gpu``. There is no accounting database; the controller itself remembers every job for an hour, and that is
the accounting that the tests read. Memory is enforced by polling.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "srun")
CLIENTS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
#: Debian puts the daemons here, which is not on every PATH.
SBIN = "/usr/sbin"
GPU_FILES = ("/dev/null", "/dev/zero")

_CONFIG = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={base}/munge.sock,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile={base}/slurmctld.self.pid
SlurmdPidFile={base}/%n.self.pid
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout=12
InactiveLimit=0
KillWait=2
MinJobAge=3600
ReturnToService=2
JobRequeue=0
GresTypes=gpu
NodeName=g1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_g1} CPUs=4 RealMemory=16000 Gres=gpu:2
NodeName=c1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_c1} CPUs=4 RealMemory=16000
NodeName=c2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_c2} CPUs=4 RealMemory=16000
PartitionName=cpu Nodes=c1,c2 Default=YES DefaultTime=10 MaxTime=60 DefMemPerCPU=300
PartitionName=gpu Nodes=g1 DefaultTime=10 MaxTime=60 DefMemPerCPU=300
"""


@dataclass(frozen=True)
class SlurmJob:
    """What the controller knows of a job, ended or not."""

    job: int
    rule: str
    state: str
    partition: str
    node: str
    gpus: int
    cpus: int
    minutes: int
    memory_mb: int
    comment: str


class SlurmLab:
    """The cluster; a context manager that starts and stops it."""

    nodes = ("g1", "c1", "c2")

    def __init__(self) -> None:
        # Short: the path of a socket may have 107 characters.
        self.base = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.config = self.base / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @staticmethod
    def missing() -> list[str]:
        """Programs that are not installed."""
        path = f"{os.environ['PATH']}:{SBIN}"
        return [name for name in PROGRAMS if shutil.which(name, path=path) is None]

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment needs; jobs of an outer Slurm are forgotten."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        path = f"{self.base}/bin:{os.environ['PATH']}:{SBIN}"
        return {**inherited, "PATH": path, "SLURM_CONF": str(self.config)}

    def __enter__(self) -> SlurmLab:
        self._write()
        self._spawn("munged", "--foreground", f"--socket={self.base}/munge.sock",
                    f"--key-file={self.base}/munge.key", f"--pid-file={self.base}/munged.pid",
                    f"--seed-file={self.base}/munge.seed", f"--log-file={self.base}/munged.log",
                    "--num-threads=2")  # fmt: skip
        self._wait(lambda: (self.base / "munge.sock").exists(), "munged")
        self._spawn("slurmctld", "-D", "-i")
        for node in self.nodes:
            self.start_node(node)
        return self

    def __exit__(self, *error: object) -> None:
        self.run("scancel", f"--user={getpass.getuser()}", check=False)
        deadline = time.monotonic() + 15
        while self.queue() and time.monotonic() < deadline:
            time.sleep(0.2)
        for name in [*self.nodes, "slurmctld", "munged"]:
            self._stop(name)
        shutil.rmtree(self.base, ignore_errors=True)

    def start_node(self, name: str) -> None:
        """Start a node's daemon and wait until the cluster has it."""
        self._spawn(name, "-D", "-N", name, program="slurmd")
        self._wait(lambda: self.node_state(name) in ("idle", "mixed", "allocated"), name)

    def kill_node(self, name: str) -> None:
        """SIGKILL a node's daemon; the processes of its jobs live on, as on a node that lost its network."""
        self._stop(name, signal.SIGKILL)

    def node_state(self, name: str) -> str:
        done = self.run("sinfo", "-h", "-N", "-n", name, "-o", "%T", check=False)
        return done.stdout.split("\n")[0].strip()

    def queue(self) -> list[SlurmJob]:
        """Jobs that wait or run."""
        return [job for job in self.jobs() if job.state in ("PENDING", "RUNNING", "COMPLETING")]

    def jobs(self) -> list[SlurmJob]:
        """Every job since the start, in the order of submission."""
        text = self.run("scontrol", "show", "job", "--oneliner", check=False).stdout
        found = []
        for line in text.splitlines():
            fields = dict(re.findall(r"([\w/:]+)=(\S*)", line))
            if "JobId" not in fields:
                continue  # "No jobs in the system"
            days, hours, minutes = re.match(r"(?:(\d+)-)?(\d+):(\d+)", fields["TimeLimit"]).groups("0")
            memory = re.search(r"TRES=\S*?mem=([\d.]+)([MG])", line)
            gpus = re.search(r"gres:gpu:(\d+)", line)
            comment = fields.get("Comment", "")
            found.append(
                SlurmJob(
                    job=int(fields["JobId"]),
                    rule=re.sub(r"^rule_|^group_|_wildcards_.*$", "", comment),
                    state=fields["JobState"],
                    partition=fields["Partition"],
                    node=fields.get("NodeList", ""),
                    gpus=int(gpus[1]) if gpus else 0,
                    cpus=int(fields["NumCPUs"].split("-")[0]),
                    minutes=60 * (24 * int(days) + int(hours)) + int(minutes),
                    memory_mb=round(float(memory[1]) * (1024 if memory[2] == "G" else 1)) if memory else 0,
                    comment=comment,
                )
            )
        return sorted(found, key=lambda job: job.job)

    def run(self, *command: str, check: bool = True, timeout: int = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, check=check, timeout=timeout
        )

    def _write(self) -> None:
        for folder in ("state", "bin", *(f"spool/{node}" for node in self.nodes)):
            (self.base / folder).mkdir(parents=True)
        self.base.chmod(0o755)
        (self.base / "munge.key").write_bytes(os.urandom(128))
        (self.base / "munge.key").chmod(0o400)
        port, *ports = _free_ports(1 + len(self.nodes))
        text = _CONFIG.format(
            base=self.base,
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            port=port,
            **{f"port_{node}": port for node, port in zip(self.nodes, ports, strict=True)},
        )
        self.config.write_text(text)
        (self.base / "gres.conf").write_text(
            "".join(f"NodeName=g1 Name=gpu File={file}\n" for file in GPU_FILES)
        )
        # The executor takes SLURM_CONF out of the environment of what it starts; a site has it in /etc/slurm.
        for name in CLIENTS:
            shim = self.base / "bin" / name
            shim.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec {shutil.which(name)} "$@"\n')
            shim.chmod(0o755)

    def _spawn(self, name: str, *arguments: str, program: str | None = None) -> None:
        with (self.base / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [program or name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment,
                start_new_session=True,
            )

    def _stop(self, name: str, first: signal.Signals = signal.SIGTERM) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(first)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _wait(self, ready: Callable[[], bool], what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = sorted([*self.base.glob("*.log"), *self.base.glob("*.out")])
                tails = "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in logs)
                raise RuntimeError(f"{what} is not ready after {seconds} s\n{tails}")
            time.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
