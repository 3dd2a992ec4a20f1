"""Nothing outside the corpus is opened, whatever a file says or a link leads to; strace tells what was."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numbered_clips as clips
import pytest
from corpus_files import found

from patchlake.tasks.storage.uris import path_of

HERE = Path(__file__).resolve()
CALLS = "open,openat,openat2,creat,execve,execveat,connect,bind,sendto"
INGEST = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import in_process
folder = Path(sys.argv[2])
clips = [{"method": "windows", "seconds": 1.0}]
recipe = {"corpus": {"videos": str(folder / "corpus")}, "clips": clips, "patches": {"size": [8, 16, 16]}}
done = in_process.ingest(folder, {**recipe, "features": ["edges"]})
print(sum(source.status == "ok" for source, _ in done.survey.sources))
"""
"""Discovers, probes and decodes as workers do, in a child with all its guards."""
DEMUX = """
import sys
import av
options = dict(option.split("=") for option in sys.argv[3:])
with av.open(sys.argv[1], format=sys.argv[2] or None, options=options) as container:
    print(sum(packet.size > 0 for packet in container.demux(video=0)))
"""
"""Reads a file's packets without any guard."""


@dataclass(frozen=True)
class Trap:
    """A file that makes FFmpeg open another one."""

    make: Callable[[Path], bytes]
    """Its bytes, given the folder of secrets."""
    format: str = ""
    options: tuple[str, ...] = ()
    """What FFmpeg must be told to walk into it; most traps need nothing."""


def external_mov(secrets: Path) -> bytes:
    """Return a mov whose pictures lie in another file, by a Macintosh alias (QuickTime file format, dref)."""
    data = bytearray((secrets / "secret.mov").read_bytes())
    path = str(secrets / "secret.mov").encode()
    path += b"\0" * (len(path) % 2)
    alias = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack(">HH", 0, 0) + bytes(16)
    alias += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = data.index(b"dref") + 12
    old = int.from_bytes(data[at : at + 4])
    data[at : at + old] = entry
    for kind in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        size_at = data.index(kind) - 4
        size = int.from_bytes(data[size_at : size_at + 4]) + len(entry) - old
        data[size_at : size_at + 4] = size.to_bytes(4)
    return bytes(data)


TRAPS = {
    "concat.mp4": Trap(lambda _: b"ffconcat version 1.0\nfile hidden/secret.bin\n"),
    "concat.avi": Trap(lambda s: f"ffconcat version 1.0\nfile '{s}/secret.ts'\n".encode(), options=("safe=0",)),
    "playlist.ts": Trap(
        lambda s: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{s}/secret.ts\n#EXT-X-ENDLIST\n".encode(),
        format="hls",
        options=("allowed_extensions=ALL", "extension_picky=0"),
    ),
    "external.mov": Trap(external_mov, options=("enable_drefs=1", "use_absolute_path=1")),
    "still%03d.gif": Trap(lambda s: (s / "secret.gif").read_bytes()[:64], format="image2"),
}
"""By name; the last is a name that tells FFmpeg of numbered pictures, of which the first is a link to a secret."""


def set_traps(folder: Path) -> Path:
    """Write a corpus of traps, two that no file backs, and one good clip; return the folder of secrets beside it."""
    corpus, secrets = folder / "corpus", folder / "secrets"
    (corpus / "hidden").mkdir(parents=True)
    secrets.mkdir()
    for name in ("secret.mov", "secret.ts"):
        clips.render(secrets / name, num_frames=5)
    clips.render(secrets / "secret.gif", num_frames=5, codec="gif", pixel_format="rgb8")
    (corpus / "hidden" / "secret.bin").symlink_to(secrets / "secret.ts")
    (corpus / "still001.gif").symlink_to(secrets / "secret.gif")
    for name, trap in TRAPS.items():
        (corpus / name).write_bytes(trap.make(secrets))
    (corpus / "session.mp4").write_text("v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    (corpus / "address.mp4").write_text("http://127.0.0.1:9/video.mp4\n")
    clips.render(corpus / "good.mp4", num_frames=30)
    return secrets


@cache
def strace() -> str:
    path = shutil.which("strace")
    if path is None or subprocess.run([path, "-qq", "true"], capture_output=True).returncode:
        clips.unavailable("needs strace, and leave to trace (Debian: apt-get install strace)")
    return str(path)


def traced(folder: Path, program: str, *args: str | Path) -> tuple[str, list[bytes], str]:
    """Run a Python program; return what it printed, the files it opened (links resolved), and all calls."""
    log = folder / "calls.log"
    calls = [strace(), "-f", "-qq", "-y", "-xx", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run([*calls, sys.executable, "-c", program, *args], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    text = log.read_text()
    opened = [bytes.fromhex(path.replace("\\x", "")) for path in re.findall(r"= \d+<((?:\\x[0-9a-f]{2})+)>", text)]
    return done.stdout, opened, text


def is_of_the_machine(path: bytes) -> bool:
    """Whether it belongs to Python, its packages, this checkout or the system."""
    paths = sysconfig.get_paths()
    ours = [paths["stdlib"], paths["purelib"], paths["platlib"], sys.prefix, sys.base_prefix]
    ours += [str(HERE.parents[3] / name) for name in ("tasks", "tests", "build")]
    ours += ["/proc", "/sys", "/dev", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"]
    ours += ["/usr/share/zoneinfo"]
    files = ["/etc/ld.so.cache", "/etc/locale.alias", "/etc/ssl/openssl.cnf", "/usr/share/locale/locale.alias"]
    files.append(str(HERE.parents[3] / "__init__.py"))
    real = [os.path.realpath(place) for place in ours]
    return path.decode(errors="replace") in files or path.startswith(tuple(f"{p}/".encode() for p in [*ours, *real]))


@pytest.mark.parametrize("name", TRAPS)
def test_each_trap_is_one_and_the_trace_shows_it(tmp_path: Path, name: str) -> None:
    secrets, trap = set_traps(tmp_path), TRAPS[name]
    path = tmp_path / "corpus" / name
    out, opened, _ = traced(tmp_path, DEMUX, path, trap.format, *trap.options)
    assert int(out) > 0
    assert any(path.startswith(bytes(secrets)) for path in opened)


@pytest.mark.parametrize("with_nasty", [False, pytest.param(True, marks=pytest.mark.shared_videos)])
def test_only_the_corpus_is_opened(tmp_path: Path, with_nasty: bool) -> None:
    secrets, corpus = set_traps(tmp_path), tmp_path / "corpus"
    if with_nasty:
        with tarfile.open(clips.shared_videos() / "nasty.tar") as tar:
            tar.extractall(corpus, filter="fully_trusted")
    out, opened, calls = traced(tmp_path, INGEST, str(HERE.parents[2] / "support"), tmp_path)
    assert int(out) >= (25 if with_nasty else 1)
    assert not [path for path in opened if path.startswith(bytes(secrets))]
    assert bytes(secrets).hex() not in calls.replace("\\x", ""), "a secret was tried"

    sources = {path_of(source.uri) for source in found(corpus)}
    assert bytes(corpus / "good.mp4") in set(opened) & sources
    others = {
        path
        for path in set(opened) - sources
        if not (path.startswith(bytes(tmp_path / "lake")) or is_of_the_machine(path) or os.path.isdir(path))
    }
    assert not others
    assert not re.findall(r"(?:connect|bind|sendto)\(.*AF_INET.*", calls), "the network was used"
    started = {bytes.fromhex(hexes.replace("\\x", "")) for hexes in re.findall(r'execve\("((?:\\x..)+)"', calls)}
    assert started == {os.fsencode(sys.executable)}
