"""Names of images, and specs that say where images come from.

>>> encode("centos/7:2004.01")
'centos%2F7%3A2004.01'
>>> parse_spec("alpine,file=/tmp/alpine.qcow2.xz")
ImageSpec(name='alpine', protocol='file', source='/tmp/alpine.qcow2.xz', checksum=None)
"""

from __future__ import annotations

from dataclasses import dataclass

from ._transient import decode_image_name, encode_image_name, parse_image_spec

__all__ = ["ImageSpec", "decode", "encode", "parse_spec"]


@dataclass(frozen=True)
class ImageSpec:
    """What `FROM` names: `NAME`, or `NAME,PROTOCOL=SOURCE`, with or without a checksum behind it."""

    name: str
    """The image's name in the store."""
    protocol: str | None
    """`file`, `http` or `vagrant`, if a source is named."""
    source: str | None
    """Where the image comes from if the store lacks it, if a source is named."""
    checksum: str | None = None
    """What the source must add up to, `sha256=...` or `sha512=...`, if that is said."""


encode = encode_image_name
decode = decode_image_name
parse_spec = parse_image_spec
