"""The package as others meet it: `import patchlake`, and the wheel that pip installs."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"numpy", "zarr", "xarray", "pandas", "torch", "prefect", "dask", "distributed", "av", "cv2", "pydantic"}


def test_the_door_is_light() -> None:
    code = f"""
import sys, time
before = time.process_time()
import patchlake
assert time.process_time() - before < 0.1, "slow"
assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)
assert patchlake.__version__[0].isdigit()
assert not {HEAVY} & set(sys.modules), "the version imports nothing heavy"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_door_leads_to_what_it_names() -> None:
    import patchlake
    from patchlake.tasks.lake import open_lake

    assert patchlake.open_lake is open_lake
    assert {*patchlake.__all__, "flows", "tasks", "cluster"} <= set(dir(patchlake))
    for name in patchlake.__all__:
        assert getattr(patchlake, name) is not None
    assert importlib.import_module("patchlake.flows.run").run.name == "patchlake"
    with pytest.raises(AttributeError, match=r"no attribute 'open_lak'.*open_lake"):
        patchlake.open_lak  # noqa: B018


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tracked and new files, without a network."""
    source, built = tmp_path_factory.mktemp("source") / "patchlake", tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n"):
        if name and (ROOT / name).is_file() and not name.startswith("benchmarks/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", built, source]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_holds_the_code_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    expected = {"patchlake/__init__.py", "patchlake/py.typed"}
    for folder in ("flows", "tasks", "cluster"):
        found = [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.html"), *(ROOT / folder).rglob("py.typed")]
        expected |= {f"patchlake/{path.relative_to(ROOT)}" for path in found}
    assert names == expected


def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Installed without this checkout on the path; its dependencies are those of this environment."""
    venv.create(tmp_path / "venv", with_pip=False)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True, capture_output=True)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import patchlake; print(patchlake.__file__, patchlake.open_lake.__module__)"
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run([python, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(site / "patchlake" / "__init__.py"), "patchlake.tasks.lake"]
    command = [python, "-m", "patchlake.flows", "demo", "--help"]
    assert (
        "clips of moving textures"
        in subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True).stdout
    )
