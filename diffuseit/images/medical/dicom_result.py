"""Results as derived DICOM objects (PS3.3 C.7.6.1.1.2): new identifiers, and no more of the source than is listed here.

What is not listed does not travel: private elements, overlays, dates, and people. A copy of all but a list of known
names would leak what the list forgot.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from .dicom import DicomFrames
from .grid import Grid
from .kinds import library
from .stack import SYNTHETIC, About

CREATOR, GROUP, SETTINGS = "DIFFUSEIT", 0x0011, 0x01
"""The private block with the recipe (JSON, VR UT) in its first element."""

_IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
"""Of patient and study: with `About.keep_identity` alone."""
_IDENTITY_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Of these, empty without it: the standard wants them to be there (type 2)."""
_ABOUT_IMAGE = (
    "Modality", "InstanceNumber", "BodyPartExamined", "AnatomicRegionSequence", "PatientPosition",
    "PatientOrientation", "Laterality", "ImageLaterality", "ViewPosition", "PresentationIntentType",
    "PixelIntensityRelationship", "PixelIntensityRelationshipSign", "PresentationLUTShape", "BurnedInAnnotation",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "RescaleType",
    "ConversionType",
    # What CT, MR, and enhanced images must have. They describe the source.
    "KVP", "AcquisitionNumber", "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType",
    "EchoTime", "RepetitionTime", "EchoTrainLength", "InversionTime", "PixelPresentation",
    "VolumetricProperties", "VolumeBasedCalculationTechnique",
)  # fmt: skip
_GEOMETRY = (
    "FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient",
    "SliceThickness", "SpacingBetweenSlices", "SliceLocation", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription",
)  # fmt: skip
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_GROUPS = (
    "FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
    "PixelValueTransformationSequence", "FrameAnatomySequence", "CTImageFrameTypeSequence", "MRImageFrameTypeSequence",
)  # fmt: skip
"""Functional groups of enhanced images. In those of the content of a frame are dates, which are taken out."""
_GROUP_DATES = ("FrameReferenceDateTime", "FrameAcquisitionDateTime", "FrameComments")
_MULTI_FRAME_CAPTURE = {
    8: "1.2.840.10008.5.1.4.1.1.7.2",
    16: "1.2.840.10008.5.1.4.1.1.7.3",
    24: "1.2.840.10008.5.1.4.1.1.7.4",
}
"""Secondary Capture classes of several frames, by the bits of a pixel."""
_TROUBLE = "has a header that cannot be written again"
_LARGEST = (1 << 32) - 2
"""Bytes of pixels that an element holds without compression."""


class DicomStack(DicomFrames):
    """The frames of a DICOM file, and its results."""

    def check_writable(self, grid: Grid, about: About) -> None:
        with self.quiet(_TROUBLE):
            _check(self, grid, about)

    def write(
        self, path: Path, suffix: str, pixels: Callable[[int], np.ndarray], grid: Grid, about: About
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _write(self, path, pixels, grid, about)


def settings_in(path: Path) -> str | None:
    """Return the recipe in a file that `write` has made; None where there is none."""
    pydicom = library("DICOM")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        found = header.private_block(GROUP, CREATOR)[SETTINGS].value
    except Exception:  # of pydicom, on bytes of a stranger
        return None
    return found if isinstance(found, str) else None


def _check(stack: DicomFrames, grid: Grid, about: About) -> None:
    """Raise `InputError` where the result of `stack` could not be written."""
    if stack.kind.kind == "f" or stack.kind.itemsize > 2:
        raise InputError(
            f"{stack.name} has pixels of {stack.kind.itemsize * 8} bits, as doses and measured maps have, which a "
            "result is not: give -o NAME.tif"
        )
    capture = _is_capture(stack)
    if capture and _bytes_of_pixel(stack) * 8 not in _MULTI_FRAME_CAPTURE:
        raise InputError(f"{stack.name} has several frames of 16-bit colors: choose one with --slices N")
    if capture and stack.inverted:
        remedy = "give -o NAME.png" if stack.packed else "choose one with --slices N"
        what = "pixels of 1 bit" if stack.packed else "several frames"
        raise InputError(f"{stack.name} has {what} in MONOCHROME1: {remedy}")
    if len(stack) * grid.size[0] * grid.size[1] * _bytes_of_pixel(stack) > _LARGEST:
        raise InputError(f"{stack.name} has frames of more than 4 GB: choose some with --slices A:B")
    _encode(_header(stack, grid, about), io.BytesIO())


def _write(
    stack: DicomFrames, path: Path, pixels: Callable[[int], np.ndarray], grid: Grid, about: About
) -> None:
    """Write the frames, one after the other, whose levels or colors `pixels` gives."""
    header = _header(stack, grid, about)
    with tempfile.TemporaryFile() as stored:
        for index in range(len(stack)):
            found = pixels(index)
            if not stack.is_color:
                found = stack.scale(stack.numbers[index]).stored(found)
            stored.write(found.astype(found.dtype.newbyteorder("<")).tobytes())
        if stored.tell() % 2:
            stored.write(b"\0")
        stored.seek(0)
        header.add_new(0x7FE00010, "OB" if _bytes_of_sample(stack) == 1 else "OW", stored)
        with path.open("wb") as file:
            _encode(header, file)


def _encode(header: Any, file: Any) -> None:
    library("DICOM").dcmwrite(file, header, enforce_file_format=True)


def _header(stack: DicomFrames, grid: Grid, about: About) -> Any:
    """All of the result but its pixels."""
    source, result = stack.header, library("DICOM", "dataset").Dataset()
    result.file_meta = library("DICOM", "dataset").FileMetaDataset()
    result.file_meta.TransferSyntaxUID = library("DICOM", "uid").ExplicitVRLittleEndian
    result.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _IDENTITY_EMPTY:
        setattr(result, keyword, "")
    _copy(source, result, _ABOUT_IMAGE)
    if about.keep_identity:
        _copy(source, result, _IDENTITY)
    _identifiers(source, result, about, _is_capture(stack), _bytes_of_pixel(stack) * 8)
    _derivation(stack, result, about)
    _pixels(stack, result, grid)
    if _is_enhanced(stack):
        _functional_groups(stack, result, grid)
    else:
        _copy(source, result, _GEOMETRY)
        _move(result, grid)
        if _is_capture(stack):
            _frames_of_capture(result, len(stack))
    block = result.private_block(GROUP, CREATOR, create=True)
    block.add_new(SETTINGS, "UT", about.settings)
    return result


def _identifiers(source: Any, result: Any, about: About, capture: bool, bits: int) -> None:
    """The class, and identifiers of the result, its series, and its study."""
    now = datetime.now(timezone.utc)
    result.SOPClassUID = (
        _MULTI_FRAME_CAPTURE[bits] if capture else source.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")
    )
    result.SOPInstanceUID = library("DICOM", "uid").generate_uid(prefix=None)
    result.SeriesInstanceUID = _uid(source.get("SeriesInstanceUID"), about.series)
    if "StudyInstanceUID" not in result:
        result.StudyInstanceUID = _uid(source.get("StudyInstanceUID"), "study")
    result.SeriesNumber = None
    result.SeriesDescription = f"Synthetic: {about.to}"[:64]
    result.Manufacturer = result.ManufacturerModelName = "DiffuseIT"
    result.SoftwareVersions = about.version[:64]
    result.DeviceSerialNumber = "none"
    result.InstanceCreationDate = result.ContentDate = result.SeriesDate = now.strftime("%Y%m%d")
    result.InstanceCreationTime = result.ContentTime = result.SeriesTime = now.strftime("%H%M%S")
    result.TimezoneOffsetFromUTC = "+0000"
    # Empty where nobody knows the part of the body, and not there where it is no paired one.
    if not any(keyword in result for keyword in ("Laterality", "ImageLaterality", "BodyPartExamined")):
        result.Laterality = ""
    elif result.get("BodyPartExamined") and not result.get("Laterality"):
        result.pop("Laterality", None)
    if "InstanceNumber" not in result:
        result.InstanceNumber = 1
    if "Modality" not in result:
        result.Modality = "OT"
    if result.SOPClassUID.startswith("1.2.840.10008.5.1.4.1.1.7") and "ConversionType" not in result:
        result.ConversionType = "WSD"


def _derivation(stack: DicomFrames, result: Any, about: About) -> None:
    """What says that this is no image of a patient, and of which image it is made."""
    source = stack.header
    kind = [str(value) for value in source.get("ImageType") or ()]
    result.ImageType = ["DERIVED", "SECONDARY", *kind[2:]]
    result.SyntheticData = "YES"
    result.DerivationDescription = f"{SYNTHETIC}. Made by DiffuseIT {about.version} toward: {about.to}"[:1024]
    if not (source.get("SOPClassUID") and source.get("SOPInstanceUID")):
        return
    reference = _item()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if stack.frames > 1:
        reference.ReferencedFrameNumber = [number + 1 for number in stack.numbers]
    purpose = _item()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    reference.PurposeOfReferenceCodeSequence = [purpose]
    result.SourceImageSequence = [reference]


def _pixels(stack: DicomFrames, result: Any, grid: Grid) -> None:
    """How pixels are stored, what they stand for, and how they are shown."""
    result.Rows, result.Columns = grid.size
    allocated = _bytes_of_sample(stack) * 8
    result.SamplesPerPixel = 3 if stack.is_color else 1
    result.PhotometricInterpretation = "RGB" if stack.is_color else stack.photometric
    if stack.is_color:
        result.PlanarConfiguration = 0
    result.BitsAllocated = allocated
    result.BitsStored = allocated if stack.is_color else _bits_stored(stack)
    result.HighBit = result.BitsStored - 1
    result.PixelRepresentation = 1 if not stack.is_color and _kind(stack).kind == "i" else 0
    if stack.is_color:
        return
    scale = stack.scale(stack.numbers[0])
    number = library("DICOM", "valuerep").DSfloat
    if not _is_enhanced(stack) and ("RescaleSlope" in stack.header or "RescaleIntercept" in stack.header):
        result.RescaleSlope = number(scale.slope, auto_format=True)
        result.RescaleIntercept = number(scale.intercept, auto_format=True)
    padding = stack.header.get("PixelPaddingValue")
    if isinstance(padding, int) and scale.low <= padding <= scale.high:
        result.add_new(0x00280120, "SS" if result.PixelRepresentation else "US", padding)
    if stack.window is not None and not _is_enhanced(stack):
        # PS3.3 C.11.2.1.2.1: black ends at center - 0.5 - (width - 1) / 2.
        result.WindowCenter = number((stack.window.low + stack.window.high + 1) / 2, auto_format=True)
        result.WindowWidth = number(stack.window.high - stack.window.low + 1, auto_format=True)


def _functional_groups(stack: DicomFrames, result: Any, grid: Grid) -> None:
    """The listed functional groups of the frames that are there."""
    source = stack.header
    result.NumberOfFrames = len(stack)
    _copy(source, result, ("FrameOfReferenceUID", "PositionReferenceIndicator", "DimensionOrganizationType"))
    _copy(source, result, ("DimensionOrganizationSequence", "DimensionIndexSequence"))
    result.SharedFunctionalGroupsSequence = [_groups(source.get("SharedFunctionalGroupsSequence") or (), 0)]
    frames = source.get("PerFrameFunctionalGroupsSequence") or ()
    result.PerFrameFunctionalGroupsSequence = [_groups(frames, number) for number in stack.numbers]
    shared = result.SharedFunctionalGroupsSequence[0]
    original = _spacing_of(shared)
    for frame in result.PerFrameFunctionalGroupsSequence:
        position = _first(frame, "PlanePositionSequence") or _first(shared, "PlanePositionSequence")
        orientation = _first(frame, "PlaneOrientationSequence") or _first(shared, "PlaneOrientationSequence")
        spacing = _spacing_of(frame) or original
        if "PlanePositionSequence" in frame:
            _shift(position, orientation, spacing, grid)
        _stretch(_first(frame, "PixelMeasuresSequence"), grid)
    if "PlanePositionSequence" in shared:
        orientation = _first(shared, "PlaneOrientationSequence")
        _shift(_first(shared, "PlanePositionSequence"), orientation, original, grid)
    _stretch(_first(shared, "PixelMeasuresSequence"), grid)
    voi = _item()
    if stack.window is not None:
        number = library("DICOM", "valuerep").DSfloat
        voi.WindowCenter = number((stack.window.low + stack.window.high + 1) / 2, auto_format=True)
        voi.WindowWidth = number(stack.window.high - stack.window.low + 1, auto_format=True)
        shared.FrameVOILUTSequence = [voi]


def _groups(items: Any, number: int) -> Any:
    result = _item()
    if number < len(items):
        _copy(items[number], result, _GROUPS)
        for content in result.get("FrameContentSequence") or ():
            for keyword in _GROUP_DATES:
                content.pop(keyword, None)
    return result


def _frames_of_capture(result: Any, count: int) -> None:
    """What Secondary Capture of several frames must have. It has no place in space."""
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "FrameOfReferenceUID",
        "SliceLocation",
    ):
        result.pop(keyword, None)
    result.NumberOfFrames = count
    if count > 1:
        result.FrameIncrementPointer = 0x00182001
        result.PageNumberVector = list(range(1, count + 1))
    if "PatientOrientation" not in result:
        result.PatientOrientation = None
    # It may be in the pixels, unless the source says that it is not.
    result.BurnedInAnnotation = result.get("BurnedInAnnotation") or "YES"
    if result.SamplesPerPixel == 1:
        result.PresentationLUTShape = "IDENTITY"
        if "RescaleSlope" not in result:
            result.RescaleSlope, result.RescaleIntercept = "1", "0"
        result.RescaleType = result.get("RescaleType") or "US"


def _move(result: Any, grid: Grid) -> None:
    """Bring spacing and position to the grid of the result."""
    _shift(result, result, _floats(result, "PixelSpacing", 2), grid)
    _stretch(result, grid)


def _shift(position: Any, orientation: Any, spacing: list[float] | None, grid: Grid) -> None:
    """Move the position of the first pixel; drop it if it moves to where nobody knows."""
    if position is None or "ImagePositionPatient" not in position or (grid.top == 0 and grid.left == 0):
        return
    first = _floats(position, "ImagePositionPatient", 3)
    directions = None if orientation is None else _floats(orientation, "ImageOrientationPatient", 6)
    if first is None or directions is None or spacing is None:
        del position.ImagePositionPatient
        return
    along_row, along_column = directions[:3], directions[3:]
    right, down = spacing[1] * grid.left, spacing[0] * grid.top
    moved = [p + x * right + y * down for p, x, y in zip(first, along_row, along_column, strict=True)]
    position.ImagePositionPatient = _decimals(moved)


def _stretch(values: Any, grid: Grid) -> None:
    """Scale the distances of pixels."""
    if values is None or (grid.down == 1 and grid.right == 1):
        return
    for keyword in _SPACINGS:
        if keyword in values:
            spacing = _floats(values, keyword, 2)
            if spacing is None:
                delattr(values, keyword)
            else:
                setattr(values, keyword, _decimals([spacing[0] * grid.down, spacing[1] * grid.right]))


def _copy(source: Any, result: Any, keywords: Iterable[str]) -> None:
    """Copy the elements that are there and can be read; a stranger has written them."""
    for keyword in keywords:
        try:
            if keyword in source:
                element = deepcopy(source[keyword])
                probe = library("DICOM", "dataset").Dataset()
                probe.add(element)
                probe.to_json()
                result.add(element)
        except Exception:  # of pydicom, for a value that is none
            continue


def _uid(source: Any, entropy: str) -> str:
    """An identifier that follows from one of the source, so that parts of a series agree; a random one without it."""
    if not source:
        return str(library("DICOM", "uid").generate_uid(prefix=None))
    digest = sha256(f"diffuseit {source} {entropy}".encode()).digest()[:16]
    # PS3.5 B.2: 2.25 and a UUID as a number. The bits of version and variant are those of version 8.
    number = int.from_bytes(digest, "big") & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62
    return f"2.25.{number}"


def _is_enhanced(stack: DicomFrames) -> bool:
    """Whether frames are described by functional groups, each its own."""
    return "PerFrameFunctionalGroupsSequence" in stack.header


def _is_capture(stack: DicomFrames) -> bool:
    """Whether the result is a Secondary Capture of several frames: the class of a source of 1 bit holds no grays."""
    return (len(stack) > 1 or stack.packed) and not _is_enhanced(stack)


def _bytes_of_sample(stack: DicomFrames) -> int:
    return 1 if stack.is_color and stack.window is None else 2 if stack.is_color else _kind(stack).itemsize


def _kind(stack: DicomFrames) -> np.dtype:
    """The type of the gray levels that are stored."""
    return np.dtype(np.uint16) if "ModalityLUTSequence" in stack.header else stack.kind


def _bytes_of_pixel(stack: DicomFrames) -> int:
    return _bytes_of_sample(stack) * (3 if stack.is_color else 1)


def _bits_stored(stack: DicomFrames) -> int:
    return 16 if "ModalityLUTSequence" in stack.header else stack.bits


def _spacing_of(groups: Any) -> list[float] | None:
    measures = _first(groups, "PixelMeasuresSequence")
    return None if measures is None else _floats(measures, "PixelSpacing", 2)


def _first(values: Any, keyword: str) -> Any | None:
    return (values.get(keyword) or [None])[0]


def _floats(values: Any, keyword: str, count: int) -> list[float] | None:
    try:
        found = [float(value) for value in values.get(keyword) or ()]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and np.isfinite(found).all() else None


def _decimals(values: list[float]) -> list[Any]:
    number = library("DICOM", "valuerep").DSfloat
    return [number(value, auto_format=True) for value in values]


def _item() -> Any:
    return library("DICOM", "dataset").Dataset()
