"""Marks that machines read: how an image came to be, as IPTC's DigitalSourceType in XMP.

The terms are those of https://cv.iptc.org/newscodes/digitalsourcetype/. Whoever saves the image again may lose the
mark, and nothing proves that it is true.
"""

from __future__ import annotations

import re
from typing import Literal

from PIL import Image

SourceType = Literal["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia", "algorithmicMedia"]
"""An image that a trained model has changed, one that it has made, and one that a program without training has made."""

MEANINGS: dict[str, str] = {
    "compositeWithTrainedAlgorithmicMedia": "a trained model has changed it",
    "trainedAlgorithmicMedia": "a trained model has made it",
    "algorithmicMedia": "a program without training has made it",
}
"""What terms mean, in words."""

PNG_KEY = "XML:com.adobe.xmp"
TIFF_TAG = 700
EXR_ATTRIBUTE = "xmp"
TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Before the names of the terms."""

_FOUND = re.compile(
    rb"DigitalSourceType[^<]{0,80}?https?://cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{1,64})"
)
_LONGEST = 1 << 20
"""Bytes of XMP that are searched for a mark."""


def of_result(source: str | None) -> SourceType:
    """Return the mark of a translation of an image with the mark `source`, or without one."""
    made = ("trainedAlgorithmicMedia", "algorithmicMedia")
    return "trainedAlgorithmicMedia" if source in made else "compositeWithTrainedAlgorithmicMedia"


def address(mark: SourceType) -> str:
    """Return the term as IPTC names it everywhere: an address."""
    return f"{TERMS}{mark}"


def xmp(mark: SourceType) -> bytes:
    """Return the XMP packet that says `mark`."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmp:CreatorTool="DiffuseIT" '
        f'Iptc4xmpExt:DigitalSourceType="{address(mark)}"/></rdf:RDF></x:xmpmeta>\n'
        '<?xpacket end="w"?>'
    ).encode()


def mark_in(image: Image.Image) -> str | None:
    """Return the term in the XMP of an opened image, whoever wrote it; None if there is none."""
    return mark_of(
        image.info.get("xmp") or image.info.get(PNG_KEY) or getattr(image, "tag_v2", {}).get(TIFF_TAG)
    )


def mark_of(found: object) -> str | None:
    """Return the term in what may be XMP, as text or bytes; None if there is none."""
    if isinstance(found, str):
        found = found.encode("utf-8", "replace")
    if not isinstance(found, bytes):
        return None
    term = _FOUND.search(found[:_LONGEST])
    return None if term is None else term[1].decode("ascii")
