"""The lake's arrays as processes open them."""

import threading
import time

import zarr

from patchlake.tasks.lake.zarr_config import PLAIN, ZARRS, zarr_settings


def test_settings_of_zarr_are_one_thread_s_at_a_time():
    """Readers in threads of a user's own would mix them up, and leave one's behind for the whole process."""
    before, others = zarr.config.get("codec_pipeline.path"), []

    def look(settings):
        for _ in range(50):
            with zarr_settings(settings):
                time.sleep(0.0005)
                if zarr.config.get("codec_pipeline.path") != settings["codec_pipeline.path"]:
                    others.append(settings)

    threads = [threading.Thread(target=look, args=(settings,)) for settings in (PLAIN, ZARRS) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not others
    assert zarr.config.get("codec_pipeline.path") == before
