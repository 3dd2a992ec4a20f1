import subprocess
import sys
import textwrap


def test_ctrl_c_reaches_the_coordinator_alone(tmp_path):
    """A terminal signals the whole process group; the workers must live to be drained."""
    script = tmp_path / "coordinator.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal
        import jobs
        from patchlake.cluster.connect import connect
        from patchlake.cluster.kinds.local import LocalSpec

        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would ignore it
            with connect(LocalSpec(workers=2, dashboard=False)) as cluster:
                before = cluster.each_worker(jobs.pid)
                try:
                    os.killpg(0, signal.SIGINT)
                    list(cluster.run(jobs.double_slowly, range(100)))
                except KeyboardInterrupt:
                    assert cluster.each_worker(jobs.pid) == before
                    print("drained")
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (done.returncode, done.stdout) == (0, "drained\n"), done.stderr
    assert done.stderr == ""
