"""A worker whose GPU is lost ends, and its item is done by the next one."""

import subprocess
import sys

import jobs
import pytest
import torch

from patchlake.cluster.worker import cuda_errors

ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"


def cublas_in_a_feature():
    try:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`")
    except RuntimeError as error:
        wrapped = ValueError("the feature failed")
        wrapped.__cause__ = error
        return wrapped


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.AcceleratorError(ASSERT), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (cublas_in_a_feature(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"), False),
        (RuntimeError("shape '[2, 3]' is invalid for input of size 5"), False),
        (ValueError("CUDA error: this is no error of a device"), False),
        (None, False),
    ],
)
def test_which_errors_cost_the_worker_its_gpu(error, lost):
    assert cuda_errors.is_lost(error) is lost


def test_the_item_is_done_by_another_worker(cluster, tmp_path):
    before = set(cluster.each_worker(jobs.pid).values())
    outcomes = list(cluster.run(lambda x: jobs.lose_gpu_once(x, 3, str(tmp_path)), range(12)))
    assert sorted((o.item, o.result) for o in outcomes) == [(x, 2 * x) for x in range(12)]
    assert before - set(cluster.each_worker(jobs.pid).values()), "the worker is another one"


def test_the_log_of_the_worker_says_why():
    code = "from patchlake.cluster.worker import cuda_errors; cuda_errors.end_worker('the trace')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "GPU can't be used any more" in done.stderr
    assert "the trace" in done.stderr
