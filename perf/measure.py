"""What all comparisons share: CPU of whole process trees, pinning, medians, tables.

Figures are taken as follows: servers on core 0, clients on core 1; both sides with the same HTTP and TLS
version and AES-128-GCM; one worker each; access log on; Weir as run.sh configures it; runs interleaved;
CPU is user + system of every process of a side, children that ended included.
"""
import os
import pathlib
import re
import statistics

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_CORE, CLIENT_CORE = "0", "1"
ROOT = pathlib.Path(__file__).resolve().parents[1]


def on_server_core(command):
    return ["taskset", "-c", SERVER_CORE, *map(str, command)]


def on_client_core(command):
    return ["taskset", "-c", CLIENT_CORE, *map(str, command)]


def process_tree(pid):
    """pid and all living descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += children.get(one, [])
    return found


def cpu_seconds(pids):
    """User + system of the trees below `pids`, with what their ended children used."""
    total = 0
    for root in pids:
        for pid in process_tree(root):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def summary(values):
    """median (min..max)"""
    return f"{statistics.median(values):.4g} ({min(values):.4g}..{max(values):.4g})"


def ratio(values, base):
    return statistics.median(values) / statistics.median(base)


def table(title, header, rows):
    lines = [f"### {title}", "", "| " + " | ".join(header) + " |",
             "|" + "|".join(" --- " for _ in header) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def publish(section, text):
    """Replaces the section of perf/README.md between its markers, and prints it."""
    print(text)
    path = ROOT / "perf" / "README.md"
    begin, end = f"<!-- {section} begins -->", f"<!-- {section} ends -->"
    page = path.read_text() if path.exists() else ""
    block = f"{begin}\n{text}{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    page = pattern.sub(lambda _: block, page) if begin in page else page + "\n" + block + "\n"
    path.write_text(page)
