"""Several hosts on one machine: network namespaces, a cable each to a bridge, every cable as fast as it is told to be.

    with Hosts(4, gbit_per_second=1) as hosts:
        done = hosts.run(hosts.mpirun(4) + ["gyre", "run", ...])

A host has its own network, host name, processes, /dev/shm and temporary files, and shares all other files. `mpirun` starts on one more
host, `login`, at the bridge. Needs root (or CAP_SYS_ADMIN) and Linux namespaces: where they are missing, Hosts raises Unavailable, which
says what is missing; tests are then skipped by that name.

Nothing outlives the process that made it, even if that is killed: every namespace belongs to a process that ends when its standard
input does, cables end with their namespaces, and login's removes the files.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile

# Of a token bucket, and so for free after a pause. Smaller ones cost processor time: 64 KiB segments do not pass them whole.
BURST_BYTES = 1 << 20

# A shell that ends with its input. As process 1 of a host it takes what the host leaves behind, and with it everything there ends.
LAST_LINE = "echo ready; read -r _"


class Unavailable(Exception):
    """What this machine lacks."""


class _Host:
    """The process that a host's namespaces belong to."""

    def __init__(self, name, namespaces, setup):
        script = f"set -e; mount --make-rprivate /; hostname {name}; ip link set lo up; {setup}; set +e; {LAST_LINE}"
        self.name = name
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", *namespaces, "bash", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        if self.holder.stdout.readline() != "ready\n":
            reason = self.holder.communicate()[1].strip().splitlines()
            raise Unavailable("no network namespaces: " + (reason[0] if reason else "unshare says nothing"))
        forked = "--fork" in namespaces
        self.pid = _children(self.holder.pid)[0] if forked else self.holder.pid

    def inside(self, *namespaces):
        return ["nsenter", "-t", str(self.pid), *namespaces, "--"]

    def close(self):
        self.holder.stdin.close()
        try:
            self.holder.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
        self.holder.stdout.close()
        self.holder.stderr.close()

    def kill(self):
        for pid in (self.pid, self.holder.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.holder.wait()


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


class Hosts:
    """`count` hosts, node0 and so on, at a bridge. Rates are of each direction of each cable; None: as fast as the machine is."""

    def __init__(self, count, gbit_per_second=None):
        self.count = count
        self.folder = tempfile.mkdtemp(prefix="gyre-hosts-")
        self.hosts = []
        self.started = []
        try:
            self._build()
            if gbit_per_second is not None:
                self.shape(gbit_per_second)
        except FileNotFoundError as error:
            self.close()
            raise Unavailable(f"no {error.filename}") from error
        except BaseException:
            self.close()
            raise

    def _build(self):
        names = ["login", *[f"node{index}" for index in range(self.count)]]
        hosts_file = os.path.join(self.folder, "hosts")
        with open(hosts_file, "w") as file:
            file.write("127.0.0.1 localhost\n")
            file.writelines(f"10.77.0.{number} {name}\n" for number, name in enumerate(names, 1))
        for name in names:
            os.mkdir(os.path.join(self.folder, name))
        bind = f"mount --bind {hosts_file} /etc/hosts"
        bridge = "ip link add bridge type bridge; ip link set bridge up; ip addr add 10.77.0.1/24 dev bridge"
        self.login = _Host("login", [], f"{bind}; {bridge}; trap 'rm -rf {self.folder}' EXIT")
        for number, name in enumerate(names[1:], 2):
            host = _Host(name, ["--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"],
                         f"{bind}; mount -t tmpfs -o size=2g tmpfs /dev/shm")  # fmt: skip
            self.hosts.append(host)
            self._on_login(f"ip link add {name} type veth peer name eth0 netns {host.pid}; ip link set {name} master bridge up")
            self._in_network(host, f"ip link set eth0 up; ip addr add 10.77.0.{number}/24 dev eth0")
            # Namespaces other than the first may be refused the default of the machine.
            self._in_network(host, "sysctl -qw net.ipv4.tcp_congestion_control=reno")
        self._on_login("sysctl -qw net.ipv4.tcp_congestion_control=reno")
        self._write_agent()

    def _write_agent(self):
        """What mpirun calls instead of ssh: AGENT HOST COMMAND..."""
        self.agent = os.path.join(self.folder, "agent")
        pids = "\n".join(f"  {host.name}) pid={host.pid};;" for host in self.hosts)
        with open(self.agent, "w") as file:
            file.write(f'#!/bin/bash\nhost=$1; shift\ncase $host in\n{pids}\n  *) echo "no host $host" >&2; exit 1;;\nesac\n'
                       f"export TMPDIR={self.folder}/$host\n"
                       'exec nsenter -t $pid -n -u -m -i -p -- /bin/bash -c "$*"\n')  # fmt: skip
        os.chmod(self.agent, 0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for host in self.hosts:
            host.close()
        login = getattr(self, "login", None)
        if login is not None:
            login.close()
        for process in self.started:  # what mpirun started outside of its group, and has its output open, ends with the hosts
            if not process.stdout.closed:
                process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What runs there

    def mpirun(self, ranks, *settings):
        """The launcher's words for that many ranks, dealt to the hosts in a row, up to the program's name.

        Without `--bind-to none` every host would bind to the same cores; hosts do not know of each other's load, so ranks that wait
        have to yield without being asked.
        """
        slots = -(-ranks // self.count)
        line = ",".join(f"{host.name}:{slots}" for host in self.hosts)
        return ["mpirun", "--host", line, "-n", str(ranks), "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", *settings]

    def start(self, command, **options):
        """On login, with the hosts in reach; in a process group of its own. Ends with the hosts at the latest."""
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_plm="rsh",
                           OMPI_MCA_plm_rsh_agent=self.agent, TMPDIR=os.path.join(self.folder, "login"))  # fmt: skip
        environment.update(options.pop("environment", {}))
        process = subprocess.Popen(self.login.inside("-n", "-u", "-m") + [str(word) for word in command], env=environment, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)  # fmt: skip
        self.started.append(process)
        return process

    def run(self, command, timeout=120, **options):
        process = self.start(command, **options)
        out, error = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    def processes(self, host, program):
        """Process ids, as this process sees them, of that program (the file's name) on a host."""
        found, namespace = [], os.readlink(f"/proc/{self.hosts[host].pid}/ns/pid")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm") as file:
                    if file.read().strip() == program[:15] and os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                        found.append(int(pid))
            except (FileNotFoundError, ProcessLookupError):
                pass  # it ended meanwhile
        return sorted(found)

    # The cables

    def shape(self, gbit_per_second):
        """Both directions of every cable, from now on. A queue of 50 ms, as much as a rate's switches are wont to have."""
        rule = f"root tbf rate {gbit_per_second}gbit burst {BURST_BYTES} latency 50ms"
        for host in self.hosts:
            self._in_network(host, f"tc qdisc replace dev eth0 {rule}")
            self._on_login(f"tc qdisc replace dev {host.name} {rule}")

    def counters(self):
        """What each host's interface has sent and received so far: bytes with all headers, as the kernel counts them."""
        counted = []
        for host in self.hosts:
            (link,) = json.loads(self._in_network(host, "ip -s -j link show dev eth0"))
            counted.append({"sent": link["stats64"]["tx"]["bytes"], "received": link["stats64"]["rx"]["bytes"]})
        return counted

    def cut(self, host):
        """Nothing passes that host's cable any more; nobody is told."""
        self._on_login(f"ip link set {self.hosts[host].name} nomaster; ip link set {self.hosts[host].name} down")

    def mend(self, host):
        self._on_login(f"ip link set {self.hosts[host].name} master bridge up")

    def vanish(self, host):
        """As a host that loses its power: no farewell on the wire, then all of its processes and its cable are gone."""
        self.cut(host)
        self.hosts[host].kill()

    def _on_login(self, commands):
        return self._in_network(self.login, commands)

    def _in_network(self, host, commands):
        done = subprocess.run(host.inside("-n") + ["bash", "-ec", commands], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"{commands}: {done.stderr.strip()}")
        return done.stdout

