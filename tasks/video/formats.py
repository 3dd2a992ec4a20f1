"""Which files count as videos, and which demuxers, codecs and decoders may open them."""

from __future__ import annotations

SUFFIXES = frozenset([
    ".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
])  # fmt: skip
"""Suffixes of videos in a folder or glob; a file named directly, or in a manifest, may have any name."""


FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,gif,ogg,flv,asf,"
    "dv,mjpeg,yuv4mpegpipe"
)
"""Demuxers that may open a file. No playlists, image sequences or scripts, since these name other files."""


CODECS = (
    "h264,hevc,vp8,vp9,av1,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4v3,h263,h263p,flv1,wmv1,wmv2,"
    "wmv3,vc1,theora,mjpeg,gif,png,dvvideo,prores,dnxhd,ffv1,huffyuv,ffvhuff,utvideo,qtrle,cinepak,rawvideo"
)
"""Codecs that may see a file's bytes, by FFmpeg's codec names."""


DECODERS = CODECS.replace("msmpeg4v3", "msmpeg4").replace("flv1", "flv") + ",libdav1d,libvpx,libvpx-vp9"
"""The same, by FFmpeg's decoder names."""
