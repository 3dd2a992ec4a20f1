"""Extractors that tests write beside a recipe, as users do: text, since workers import it from there."""

PAIRS = """
    version = 1
    channels = ("mean",)
    dtype = "float32"
    context_frames = (0, 0)
    needs_gpu = False

    def __init__(self, patches, frame_size):
        self.time_size, self.time_stride = 2, 2
        self.centres = ((frame_size[0] / 2,), (frame_size[1] / 2,))
        self.digest_parts, self.attrs = {}, {}
"""
"""What begins a class whose rows are one number for each pair of frames; its `__init__` may go on."""

MEAN = """
        mean = frames.astype(np.float32).mean(axis=(1, 2, 3))
        return mean[: len(mean) // 2 * 2].reshape(-1, 2).mean(axis=1)[:, None, None, None]
"""
"""What ends it: the mean of each pair."""
