#!/usr/bin/env python3
"""One room at three servers over a cluster of three nodes of NATS: what people hear while nodes are
killed, stopped and restarted, and what it costs. `.ci/long link` runs it; it needs nats-server.

    tests/link/run.py [PART...]

CHAT_BINARY names the program, CHAT_LINK_KILLS how often the leader is killed. Everything is on
loopback. Each part prints what was said, heard, lost and doubled; the first failure ends the run."""

import atexit
import collections
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CHAT = os.environ.get("CHAT_BINARY", "target/release/chat")
KILLS = int(os.environ.get("CHAT_LINK_KILLS", "10"))
ROOM = "lounge"
WAIT_S = 30


started = []


@atexit.register
def end_all():
    for process in started:
        if process.poll() is None:
            process.kill()


def check(is_fine, words):
    if not is_fine:
        raise SystemExit(f"FAILED: {words}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    def __init__(self, name, route=None, routes=(), host="127.0.0.1", space=None, leaf_of=None):
        self.name, self.port, self.http = name, free_port(), free_port()
        self.host, self.space = host, space
        self.folder = tempfile.mkdtemp(prefix="nats-")
        more = f'jetstream {{ store_dir: "{self.folder}" }}'
        if route:
            others = ", ".join(f"nats://{other}" for other in routes if other != route)
            more += f"\ncluster {{ name: chat, listen: {route}, routes: [{others}] }}"
        if leaf_of:
            more = (f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{leaf_of}" }}] }}\n'
                    'mappings { "$JS.API.>": "$JS.hub.API.>" }')
        with open(f"{self.folder}/node.conf", "w") as config:
            config.write(
                f'server_name: {name}\nlisten: {host}:{self.port}\nhttp: {host}:{self.http}\n'
                f'lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"\n{more}\n')
        self.process = None

    def run(self):
        log = open(f"{self.folder}/log", "a")
        self.process = subprocess.Popen(
            within(self.space, ["nats-server", "-c", f"{self.folder}/node.conf"]),
            stdout=log, stderr=log)
        started.append(self.process)

    def kill(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGKILL):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def jsz(self):
        url = f"http://{self.host}:{self.http}/jsz?accounts=true&streams=true"
        with urllib.request.urlopen(url, timeout=1) as answer:
            return json.load(answer)

    def leads(self):
        """Whether it leads the stream."""
        try:
            accounts = self.jsz().get("account_details", [])
        except OSError:
            return False
        streams = [s for a in accounts for s in a.get("stream_detail", [])]
        return any(s["name"] == f"CHAT_{ROOM}" and s.get("cluster", {}).get("leader") == self.name
                   for s in streams)

    def is_ready(self):
        try:
            return bool(self.jsz().get("meta_cluster", {}).get("leader"))
        except OSError:
            return False


class Cluster:
    def __init__(self, count, places=None):
        places = places or [("127.0.0.1", None)] * count
        routes = [f"{host}:{free_port()}" for host, _ in places]
        self.nodes = [Node(f"n{n}", routes[n] if count > 1 else None, routes, host, space)
                      for n, (host, space) in enumerate(places)]
        self.start()

    def start(self):
        for node in self.nodes:
            if not node.process:
                node.run()
        if len(self.nodes) > 1:
            until("a cluster", lambda: all(node.is_ready() for node in self.nodes))
        else:
            until("a node", lambda: can_connect(self.nodes[0].port))

    def url(self):
        return Place(self.nodes).url()

    def leader(self):
        return until("a leader", lambda: next((n for n in self.nodes if n.process and n.leads()), None))

    def end(self):
        for node in self.nodes:
            node.end()
            shutil.rmtree(node.folder, ignore_errors=True)


class Place:
    """Some nodes, for a server to begin with."""

    def __init__(self, nodes):
        self.nodes = nodes

    def url(self):
        nodes = ",".join(f"{node.host}:{node.port}" for node in self.nodes)
        return f"nats://{nodes}/{ROOM}"


def within(space, command):
    return ["ip", "netns", "exec", space, *command] if space else command


def can_connect(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 0.2).close()
        return True
    except OSError:
        return False


def until(what, look, seconds=WAIT_S):
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        check(time.monotonic() < end, f"waited too long for {what}")
        time.sleep(0.05)


class Server:
    def __init__(self, cluster, label, *options, host="127.0.0.1", space=None):
        self.host, self.port, self.label = host, free_port(), label
        self.log = tempfile.NamedTemporaryFile("w+")
        link = ["--nats", cluster.url(), "--label", label] if cluster else []
        self.process = subprocess.Popen(
            within(space, [CHAT, "server", host, str(self.port), "--no-presence", "--history", "0",
                           "-q", *link, *options]),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        started.append(self.process)
        until("a server", lambda: can_connect(self.port, host))

    def end(self):
        self.process.terminate()
        self.process.wait()

    def ticks(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])


class Client:
    """Somebody in the room, who keeps what comes with its time."""

    def __init__(self, server, name=None, reads=True):
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = []
        if name:
            self.say(f"/nick {name}")
        if reads:
            threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            with self.socket.makefile("rb") as stream:
                for line in stream:
                    self.lines.append((time.monotonic(), line.decode().rstrip("\n")))
        except OSError:
            pass

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def heard(self, start):
        return [line for _, line in self.lines if line.startswith(start)]

    def await_line(self, start, seconds=WAIT_S):
        return until(start, lambda: next(iter(self.heard(start)), None), seconds)


def rooms(cluster, count=3, *options):
    """So many servers that are together, a listener at each."""
    servers = [Server(cluster, f"box-{'abc'[n]}", *options) for n in range(count)]
    listeners = [Client(server) for server in servers]
    for server, listener in zip(servers, listeners):
        other = Client(server)
        other.say(f"up-{server.label}")
        listener.await_line(f"<127.0.0.1> up-{server.label}")
    time.sleep(1.5)
    return servers, listeners


def bare(line):
    for label in "abc":
        line = line.replace(f"@box-{label}>", ">", 1)
    return line


def speech(listener, words="n-"):
    return [bare(line) for _, line in listener.lines if line.startswith("<t-") and words in line]


class Talker(threading.Thread):
    def __init__(self, server, pause_s):
        super().__init__(daemon=True)
        self.name_ = f"t-{server.label}"
        self.client = Client(server, self.name_, reads=True)
        self.pause_s, self.count, self.ends = pause_s, 0, False
        self.start()

    def run(self):
        while not self.ends:
            self.client.say(f"n-{self.count}")
            self.count += 1
            time.sleep(self.pause_s)

    def finish(self):
        self.ends = True
        self.join()
        return self.count


def compare(name, listeners, counts):
    """All heard all, once, in one order."""
    expected = sum(counts)
    until(f"{expected} lines at each server",
          lambda: all(len(speech(listener)) >= expected for listener in listeners))
    time.sleep(0.5)
    logs = [speech(listener) for listener in listeners]
    lost = sum(expected - len(set(log)) for log in logs)
    doubled = sum(len(log) - len(set(log)) for log in logs)
    times = [[at for at, line in listener.lines if line.startswith("<t-")] for listener in listeners]
    silence = max(b - a for one in times for a, b in zip(one, one[1:]))
    print(f"{name:34} said {expected:7}  heard {sum(map(len, logs)):7} by {len(logs)}  lost {lost}  "
          f"doubled {doubled}  one order {logs[0] == logs[1] == logs[-1]}  "
          f"longest silence {silence:.2f} s", flush=True)
    check(lost == 0 and doubled == 0, f"{name}: lines are lost or doubled")
    check(all(log == logs[0] for log in logs), f"{name}: orders differ")
    return silence


def words(listeners, start="-- "):
    return [[line for _, line in listener.lines if line.startswith(start)] for listener in listeners]


def clear(listeners):
    for listener in listeners:
        listener.lines.clear()


def kills():
    """The leader is killed or terminated again and again; each time another one leads."""
    cluster = Cluster(3)
    servers, listeners = rooms(cluster)
    clear(listeners)
    talkers = [Talker(server, 0.01) for server in servers]
    for nth in range(KILLS):
        leader = cluster.leader()
        leader.end(signal.SIGTERM if nth % 2 else signal.SIGKILL)
        time.sleep(6)
        leader.run()
        time.sleep(5)
    counts = [talker.finish() for talker in talkers]
    compare(f"leader killed {KILLS} times", listeners, counts)
    told = [line for lines in words(listeners) for line in lines]
    check(not any("apart" in line for line in told), f"a room was apart: {told}")
    print("  told:", dict(collections.Counter(told)))
    finish(cluster, servers)


def stopped():
    """The leader hangs for 8 s."""
    cluster = Cluster(3)
    servers, listeners = rooms(cluster)
    clear(listeners)
    talkers = [Talker(server, 0.01) for server in servers]
    time.sleep(1)
    leader = cluster.leader()
    leader.kill(signal.SIGSTOP)
    time.sleep(8)
    leader.kill(signal.SIGCONT)
    time.sleep(4)
    counts = [talker.finish() for talker in talkers]
    compare("leader stopped for 8 s", listeners, counts)
    print("  told:", dict(collections.Counter(sum(words(listeners), []))))
    finish(cluster, servers)


def lame_duck():
    """A node says that it is about to stop."""
    cluster = Cluster(3)
    servers, listeners = rooms(cluster)
    clear(listeners)
    talkers = [Talker(server, 0.01) for server in servers]
    time.sleep(1)
    cluster.leader().kill(signal.SIGUSR2)
    time.sleep(14)
    counts = [talker.finish() for talker in talkers]
    silence = compare("leader in lame duck mode", listeners, counts)
    check(silence < 10, "they leave at once")
    finish(cluster, servers)


def apart():
    """Two of three nodes stop, for less and for more than ten seconds."""
    cluster = Cluster(3)
    servers, listeners = rooms(cluster)
    clear(listeners)
    talkers = [Talker(server, 0.02) for server in servers]
    for node in cluster.nodes[:2]:
        node.kill(signal.SIGSTOP)
    time.sleep(3)
    for node in cluster.nodes[:2]:
        node.kill(signal.SIGCONT)
    time.sleep(9)
    counts = [talker.finish() for talker in talkers]
    told = [line for lines in words(listeners) for line in lines]
    print("  told:", dict(collections.Counter(told)))
    if not any("apart" in line for line in told):
        compare("two of three stopped for 3 s", listeners, counts)
    else:
        # The cluster took longer to find a leader than the rooms wait for it.
        for listener in listeners:
            listener.await_line("-- together again")
        time.sleep(1)
    clear(listeners)
    for node in cluster.nodes[:2]:
        node.kill(signal.SIGSTOP)
    speakers = [Client(server, f"s-{server.label}") for server in servers]
    time.sleep(0.5)
    for speaker in speakers:
        speaker.say("in doubt")
    for listener in listeners:
        listener.await_line("-- one moment: the other rooms do not answer", 5)
        listener.await_line("-- the rooms are apart: only those on box-", 20)
    for speaker in speakers:
        speaker.say("alone")
    for listener, label in zip(listeners, "abc"):
        listener.await_line(f"<s-box-{label}> alone")
    for node in cluster.nodes[:2]:
        node.kill(signal.SIGCONT)
    for listener in listeners:
        listener.await_line("-- together again", 30)
    time.sleep(1)
    for speaker in speakers:
        speaker.say("together")
    for listener in listeners:
        until("all three", lambda: len([l for _, l in listener.lines if l.endswith("> together")]) >= 3)
    for listener, label in zip(listeners, "abc"):
        alone = [line for _, line in listener.lines if line.endswith("alone")]
        check(alone == [f"<s-box-{label}> alone"], f"{alone}: said apart, heard apart")
    print("two of three stopped, on the screen of box-a:")
    for line in [line for _, line in listeners[0].lines]:
        print("   ", line)
    finish(cluster, servers)


def restart():
    """All nodes end and come back: what the stream took is not lost."""
    cluster = Cluster(3)
    servers, listeners = rooms(cluster)
    clear(listeners)
    talkers = [Talker(server, 0.02) for server in servers]
    time.sleep(2)
    for node in cluster.nodes:
        node.end(signal.SIGTERM)
    cluster.start()
    time.sleep(10)
    counts = [talker.finish() for talker in talkers]
    told = sum(words(listeners), [])
    print("  told:", dict(collections.Counter(told)))
    if any("apart" in line for line in told):
        print("cold restart of all: it took more than 10 s, so the rooms were apart")
    else:
        compare("cold restart of all", listeners, counts)
    finish(cluster, servers)


def deleted():
    """The stream is deleted while people talk."""
    cluster = Cluster(1)
    servers, listeners = rooms(cluster, 2)
    clear(listeners)
    talkers = [Talker(server, 0.02) for server in servers]
    time.sleep(1)
    nats_request(cluster.nodes[0].port, f"$JS.API.STREAM.DELETE.CHAT_{ROOM}", b"")
    time.sleep(9)
    counts = [talker.finish() for talker in talkers]
    time.sleep(1)
    logs = [speech(listener) for listener in listeners]
    print(f"stream deleted: said {sum(counts)}, heard {[len(set(log)) for log in logs]}, "
          f"doubled {[len(log) - len(set(log)) for log in logs]}, told {words(listeners)}")
    check(all(len(log) == len(set(log)) for log in logs), "no line is doubled")
    finish(cluster, servers)


def full():
    """A stream of 100 K, and a server that hangs meanwhile: the lines that are lost are counted."""
    cluster = Cluster(1)
    port = cluster.nodes[0].port
    config = {"name": f"CHAT_{ROOM}", "subjects": [f"chat.{ROOM}.say.*"], "storage": "file",
              "retention": "limits", "discard": "old", "max_bytes": 100_000, "num_replicas": 1,
              "duplicate_window": 60_000_000_000, "allow_direct": True,
              "republish": {"src": f"chat.{ROOM}.say.*",
                            "dest": f"chat.{ROOM}.heard.{{{{wildcard(1)}}}}"}}
    nats_request(port, f"$JS.API.STREAM.CREATE.CHAT_{ROOM}", json.dumps(config).encode())
    servers, listeners = rooms(cluster, 2)
    clear(listeners)
    # The node cuts a server off that reads nothing for 10 s, or has too much pending.
    servers[1].process.send_signal(signal.SIGSTOP)
    talker = Talker(servers[0], 0.001)
    time.sleep(14)
    count = talker.finish()
    time.sleep(0.5)
    servers[1].process.send_signal(signal.SIGCONT)
    last = bare(f"<t-box-a> n-{count - 1}")
    until("the last line", lambda: last in speech(listeners[1]))
    heard = speech(listeners[1])
    told = words(listeners)[1]
    lost = sum(int(line.split()[1].replace(",", "")) for line in told if "lost" in line)
    missed = sum(int(line.split()[3].replace(",", "")) for line in told if "said elsewhere" in line)
    shown = 20 if missed > 20 else missed
    print(f"stream of 100 K: said {count}, heard {len(heard)}, told {told}")
    check(len(heard) - shown + missed + lost == count, "the count of what was lost is exact")
    finish(cluster, servers)


def delay():
    """What a line takes to people at its own server and at another one."""
    def measure(name, servers, listeners):
        talker = Client(servers[0], "t-delay")
        time.sleep(0.5)
        sent = []
        for n in range(2000):
            sent.append(time.monotonic())
            talker.say(f"n-{n}")
            time.sleep(0.003)
        time.sleep(1)
        for where, listener in zip(["own server", "another"], listeners):
            heard = [at for at, line in listener.lines if line.startswith("<t-delay")]
            check(len(heard) == len(sent), f"{len(heard)} of {len(sent)} were heard")
            took = sorted(b - a for a, b in zip(sent, heard))
            print(f"{name:12} {where:11} p50 {1000 * took[1000]:6.2f} ms   "
                  f"p99 {1000 * took[1980]:6.2f} ms   longest {1000 * took[-1]:6.2f} ms", flush=True)
    server = Server(None, "alone")
    measure("no link", [server], [Client(server)])
    server.end()
    for count in [1, 3]:
        cluster = Cluster(count)
        servers, listeners = rooms(cluster, 2)
        clear(listeners)
        measure(f"{count} node{'s' * (count > 1)}", servers, listeners)
        finish(cluster, servers)


def flood():
    """How much goes through two servers."""
    for count in [1, 3]:
        cluster = Cluster(count)
        servers, _ = rooms(cluster, 2)
        counters = [FastReader(server) for server in servers]
        line = b"x" * 63 + b"\n"
        ends = time.monotonic() + 6
        threads = []
        for server in servers:
            client = Client(server, reads=False)
            threads.append(threading.Thread(target=pour, args=(client, line * 256, ends)))
        for thread in threads:
            thread.start()
        time.sleep(1)
        began, lines, ticks = time.monotonic(), [c.lines for c in counters], [s.ticks() for s in servers]
        time.sleep(4)
        took = time.monotonic() - began
        rates = [(c.lines - before) / took for c, before in zip(counters, lines)]
        cpu = [(s.ticks() - before) / took for s, before in zip(servers, ticks)]
        for thread in threads:
            thread.join()
        print(f"flood, {count} node(s): {rates[0]:9.0f} and {rates[1]:9.0f} lines/s heard at each of two "
              f"servers, which use {cpu[0]:.0f}% and {cpu[1]:.0f}% of a core", flush=True)
        check(min(rates) > 1000, "it flows")
        finish(cluster, servers)


def pour(client, chunk, ends):
    # Who reads nothing would hold up everybody for a moment.
    threading.Thread(target=drain, args=(client.socket,), daemon=True).start()
    while time.monotonic() < ends:
        try:
            client.socket.sendall(chunk)
        except OSError:
            pass
    client.socket.close()


def drain(stream):
    try:
        while stream.recv(1 << 20):
            pass
    except OSError:
        pass


class FastReader:
    def __init__(self, server, pause_s=0, chunk=1 << 20):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        if pause_s:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        self.lines = self.bytes = 0
        self.pause_s, self.chunk = pause_s, chunk
        self.is_gone = False
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            data = self.socket.recv(self.chunk)
            if not data:
                self.is_gone = True
                return
            self.lines += data.count(b"\n")
            self.bytes += len(data)
            if self.pause_s:
                time.sleep(self.pause_s)


def flow():
    """A reader of 1 MB/s at one server paces a flooder at another; people there are not held up."""
    cluster = Cluster(1)
    servers, listeners = rooms(cluster, 2)
    slow = FastReader(servers[0], pause_s=0.010, chunk=10_000)
    ends = time.monotonic() + 15
    flooder = Client(servers[1], reads=False)
    pouring = threading.Thread(target=pour, args=(flooder, (b"x" * 63 + b"\n") * 256, ends))
    pouring.start()
    person = Client(servers[1], "t-person")
    time.sleep(3)
    began, before = time.monotonic(), slow.bytes
    took = []
    for n in range(80):
        at = time.monotonic()
        person.say(f"n-{n}")
        heard = until("the line", lambda: next(
            (at for at, line in list(listeners[1].lines)[-20000:] if line.endswith(f"> n-{n}")), None))
        took.append(heard - at)
        time.sleep(0.1)
    rate = (slow.bytes - before) / (time.monotonic() - began)
    pouring.join()
    took.sort()
    print(f"slow reader at another server: gets {rate / 1e6:.2f} MB/s, gone {slow.is_gone}; a person at "
          f"the flooder's server is heard in {1000 * took[40]:.0f} ms (p50), "
          f"{1000 * took[-1]:.0f} ms at most", flush=True)
    check(not slow.is_gone and rate > 0.4e6, "the slow reader is kept, and fed")
    finish(cluster, servers)


def send():
    """`chat send` through a failover: it ends with 0 only if the line was said."""
    cluster = Cluster(3)
    servers, listeners = rooms(cluster)
    clear(listeners)
    codes = {}
    leader = cluster.leader()
    leader.end(signal.SIGKILL)
    running = []
    for n in range(20):
        command = [CHAT, "send", "127.0.0.1", str(servers[n % 3].port), f"n-{n}"]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        time.sleep(0.3)
    for n, process in enumerate(running):
        codes[n] = process.wait(40)
    time.sleep(1)
    heard = [{line.rsplit("n-", 1)[1] for _, line in l.lines if "n-" in line} for l in listeners]
    done = {str(n) for n, code in codes.items() if code == 0}
    print(f"chat send through a failover: codes {dict(collections.Counter(codes.values()))}")
    for label, one in zip("abc", heard):
        check(done <= one, f"box-{label} has not heard {done - one}")
    finish(cluster, servers)


def idle():
    """An idle pair of servers: pings and beats only."""
    cluster = Cluster(1)
    servers, _ = rooms(cluster, 2)
    time.sleep(2)
    def switches(server):
        with open(f"/proc/{server.process.pid}/status") as status:
            lines = [line for line in status if "ctxt_switches" in line]
        return sum(int(line.split()[1]) for line in lines)
    before = [switches(server) for server in servers]
    time.sleep(10)
    counts = [switches(server) - b for server, b in zip(servers, before)]
    print(f"idle for 10 s: {counts} wake-ups")
    check(max(counts) < 60, "an idle server sleeps")
    finish(cluster, servers)


def leaf():
    """Servers at leaf nodes, which have no JetStream themselves: the hub's is used."""
    hub = Cluster(1)
    port = free_port()
    hub.nodes[0].end()
    path = f"{hub.nodes[0].folder}/node.conf"
    with open(path) as config:
        text = config.read().replace("jetstream {", "jetstream { domain: hub,")
    with open(path, "w") as config:
        config.write(f"{text}leafnodes {{ listen: 127.0.0.1:{port} }}\n")
    hub.start()
    leaves = [Node(f"leaf{n}", leaf_of=port) for n in range(2)]
    for node in leaves:
        node.run()
        until("a leaf", lambda: can_connect(node.port))
    time.sleep(1)
    servers, listeners = [], []
    for label, node in zip("ab", leaves):
        server = Server(Place([node]), f"box-{label}")
        listener = Client(server)
        other = Client(server)
        other.say("up")
        listener.await_line("<127.0.0.1> up")
        servers.append(server)
        listeners.append(listener)
    time.sleep(1.5)
    clear(listeners)
    talkers = [Talker(server, 0.005) for server in servers]
    time.sleep(3)
    counts = [talker.finish() for talker in talkers]
    compare("two leaf nodes", listeners, counts)
    check(not any("apart" in line for line in sum(words(listeners), [])), "they are together")
    for node in leaves:
        node.end()
    finish(hub, servers)


def isolated():
    """A node loses sight of the two others, though its server stays connected to it. Needs root."""
    spaces = [f"link{os.getpid()}-{n}" for n in range(3)]
    bridge = f"br{os.getpid()}"
    def ip(*words):
        subprocess.run(["ip", *words], check=True)
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", "10.77.77.254/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for n, space in enumerate(spaces):
            ip("netns", "add", space)
            ip("link", "add", f"v{os.getpid()}-{n}", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", f"v{os.getpid()}-{n}", "master", bridge, "up")
            ip("-n", space, "addr", "add", f"10.77.77.{n + 1}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        isolate(spaces, ip)
    finally:
        end_all()
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)
        subprocess.run(["ip", "link", "del", bridge], check=False)


def isolate(spaces, ip):
    hosts = [f"10.77.77.{n + 1}" for n in range(3)]
    cluster = Cluster(3, list(zip(hosts, spaces)))
    servers, listeners = [], []
    for label, node in zip("abc", cluster.nodes):
        server = Server(Place([node]), f"box-{label}", space=node.space, host=node.host)
        listener = Client(server)
        other = Client(server)
        other.say("up")
        listener.await_line("<10.77.77.254> up")
        servers.append(server)
        listeners.append(listener)
    time.sleep(1.5)
    clear(listeners)
    for other in hosts[1:]:
        ip("-n", spaces[0], "route", "add", "blackhole", f"{other}/32")
    speakers = [Client(server, f"s-{server.label}") for server in servers]
    time.sleep(0.5)
    speakers[0].say("cut off")
    speakers[1].say("with one other")
    listeners[0].await_line("-- the rooms are apart: only those on box-a hear you", 20)
    listeners[2].await_line("<s-box-b@box-b> with one other", 20)
    listeners[1].await_line("-- box-a is out of reach", 40)
    for other in hosts[1:]:
        ip("-n", spaces[0], "route", "del", "blackhole", f"{other}/32")
    listeners[0].await_line("-- together again", 60)
    time.sleep(1)
    for speaker in speakers:
        speaker.say("together")
    for listener in listeners:
        until("all three", lambda: sum(l.endswith("> together") for _, l in listener.lines) >= 3)
    for server, listener in zip(servers, listeners):
        print(f"one node isolated, on the screen of {server.label}:")
        for _, line in listener.lines:
            print("   ", line)
    told = [line for listener in listeners[1:] for _, line in listener.lines]
    check(not any("apart" in line for line in told), "the majority stays together")
    finish(cluster, servers)


def nats_request(port, subject, payload):
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(b'CONNECT {"verbose":false,"headers":false}\r\nSUB in 1\r\n'
                       + f"PUB {subject} in {len(payload)}\r\n".encode() + payload + b"\r\nPING\r\n")
        answer = b""
        while b"MSG in" not in answer:
            answer += stream.recv(65536)
        time.sleep(0.2)
        return answer


def finish(cluster, servers):
    for server in servers:
        check(server.process.poll() is None, f"{server.label} has ended")
        server.end()
        check(server.process.returncode == 0, f"{server.label} ended with {server.process.returncode}")
    cluster.end()


PARTS = [delay, flood, flow, idle, leaf, send, stopped, lame_duck, restart, deleted, full, apart,
         isolated, kills]

if __name__ == "__main__":
    names = {part.__name__: part for part in PARTS}
    for name in sys.argv[1:] or names:
        began = time.monotonic()
        print(f"-- {name}: {names[name].__doc__}", flush=True)
        names[name]()
        print(f"   took {time.monotonic() - began:.0f} s", flush=True)
