"""Opens the network that a recipe entry names, whatever its file format."""

from __future__ import annotations

from patchlake.tasks.features.deep import weights
from patchlake.tasks.features.deep.network import Network, Size
from patchlake.tasks.features.deep.options import HfClipSpec, HfSpec


def open_network(spec: HfSpec | HfClipSpec, frame_size: Size) -> Network:
    """Return the network that an entry names, for frames of (height, width); its weights stay on disk.

    Raises ModelError if it can't be loaded, is of the other kind (images, clips), or does not fit the entry.
    """
    found = weights.find(spec.name, spec.path)
    if found.kind == "transformers":
        from patchlake.tasks.features.deep.backbone import open_backbone as opened
    elif found.kind == "exported":
        from patchlake.tasks.features.deep.exported import open_exported as opened
    else:
        from patchlake.tasks.features.deep.trained import open_trained as opened
    network = opened(found, spec, frame_size)
    if network.is_clip != (spec.kind == "hf_clip"):
        takes, other = ("clips", "hf_clip") if network.is_clip else ("single frames", "hf")
        raise found.error(f"is a network that takes {takes}; write `kind: {other}`")
    wanted = getattr(spec, "frames", None)
    if wanted is not None and wanted != network.frames:
        raise found.error(f"frames: got {wanted}, expected {network.frames}, the only number that it takes")
    return network
