"""A cluster of Slurm on this machine: munged, slurmctld, and two nodes, each with a slurmd of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
NODES = ("one", "two")
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=3
SchedulerParameters=sched_interval=1,sched_min_interval=0
GresTypes=gpu
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 Gres=gpu:1
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 Gres=gpu:1
PartitionName=main Nodes={nodes[0]},{nodes[1]} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={nodes[0]},{nodes[1]} MaxTime=INFINITE State=UP PriorityTier=2
"""


def missing():
    """Return why no cluster can be started here, or None."""
    absent = [program for program in PROGRAMS if not shutil.which(program, path=_PATH)]
    if absent:
        return f"needs {absent[0]}: apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "slurmd needs root"


class Cluster:
    """A running cluster. Use it in a `with` statement: at its end all of its programs have ended."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
        self._programs = {}

    def __enter__(self):
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        text = _CONFIGURATION.format(host=socket.gethostname(), folder=self.folder, ports=_free_ports(3), nodes=NODES)
        (self.folder / "slurm.conf").write_text(text)
        # A GPU of which only the file is there.
        (self.folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null\n")
        files = (
            f"--{name}={self.folder / file}"
            for name, file in (
                ("key-file", key.name),
                ("socket", "munge.socket"),
                ("pid-file", "munged.pid"),
                ("log-file", "munged.log"),
                ("seed-file", "munged.seed"),
            )
        )
        try:
            self._start("munged", "munged", "--force", "--foreground", *files)
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self.wait(lambda: self.call("sinfo", "--noheader", "--format=%T").split() == ["idle"], "the nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Let the jobs end first: Slurm's own processes of a job outlive slurmd.
        subprocess.run(["scancel", "--user=root"], env=self._environment(), capture_output=True)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._queue():
            time.sleep(0.2)
        for program in reversed(self._programs.values()):
            program.terminate()
        for program in self._programs.values():
            program.wait(timeout=20)

    def start_controller(self):
        self._start("slurmctld", "slurmctld", "-D")

    def stop_controller(self):
        self._stop("slurmctld")

    def start_node(self, node):
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node):
        """Kill a node's slurmd and all processes of its job, as a power loss would."""
        self._stop(node, signal.SIGKILL)
        processes = self.processes_of(node)
        # Slurm's own process of a job would tell the controller that the job has ended.
        keepers = {parent for process in processes for parent in _parents(process) if _name(parent) == "slurmstepd"}
        for process in [*keepers, *processes]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def processes_of(self, node):
        """Return the processes of the jobs on a node."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"SLURMD_NODENAME={node}".encode() in variables and self._configured(variables):
                found.append(int(folder.name))
        return found

    def call(self, *command):
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait(self, condition, what, seconds=60):
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
                problem = ""
            except AssertionError as error:  # the controller isn't up yet
                problem = error
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s. {problem}"
            time.sleep(0.2)

    def _queue(self):
        command = ["squeue", "--noheader"]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True).stdout.strip()

    def _configured(self, variables):
        return f"SLURM_CONF={self.environment['SLURM_CONF']}".encode() in variables

    def _environment(self):
        return {**os.environ, **self.environment}

    def _start(self, name, *command):
        with (self.folder / f"{name}.log").open("a") as log:
            self._programs[name] = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log)

    def _stop(self, name, number=signal.SIGTERM):
        program = self._programs.pop(name)
        program.send_signal(number)
        program.wait(timeout=20)


def _parents(process):
    """Yield the parent of a process, the parent's parent, and so on."""
    while process > 1:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return
        process = int(status.partition("PPid:")[2].split()[0])
        yield process


def _name(process):
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
