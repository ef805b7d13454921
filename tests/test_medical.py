"""DICOM and NIfTI: no level is lost, geometry holds, results are derived objects, and nothing of the patient leaks."""

import gzip
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from standin import MODELS, replace_core
from translate_command import good, refused, run

from diffuseit.cli import job
from diffuseit.images.io import read_picture, read_text
from diffuseit.images.medical.cut import Cut
from diffuseit.images.recipe import Recipe
from diffuseit.images.window import Window

DICOM_SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
NIFTI_SAMPLES = Path(nibabel.__file__).parent / "tests" / "data"
CT = DICOM_SAMPLES / "CT_small.dcm"
ANATOMY = NIFTI_SAMPLES / "anatomical.nii"
TO = ("--to", "a leopard")


class Core:
    """A core that gives the source back. It keeps what it saw, and fails at the call `fails_at`."""

    fails_at = -1
    sign = 1

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []
        self.seeds: set[int] = set()

    def translate(self, source: torch.Tensor, seed: int, **_) -> SimpleNamespace:
        if len(self.seen) == self.fails_at:
            raise RuntimeError("out of power")
        self.seen.append(source)
        self.seeds.add(seed)
        return SimpleNamespace(pictures=self.sign * source)

    def restore(self, fit, result, source, mask, detail) -> torch.Tensor:  # type: ignore[no-untyped-def]
        return self.sign * fit.cut(source)


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Core:
    """The stand-in, of 128 pixels, in an otherwise empty current folder.

    A result comes back to the size of its source without a change. How it does so otherwise, test_full_size.py tests.
    """
    core = Core()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODELS.ddpm, "image_size", 128)
    replace_core(monkeypatch, core.translate)
    monkeypatch.setattr(job, "restore", core.restore)
    return core


def changed(source: Path, target: str, **values: object) -> Path:
    """A copy of a DICOM file with other values."""
    header = pydicom.dcmread(source)
    for keyword, value in values.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    header.save_as(target)
    return Path(target)


def levels_of(path: object) -> np.ndarray:
    header = pydicom.dcmread(path)
    return apply_rescale(header.pixel_array, header)


def volume(path: object) -> np.ndarray:
    return nibabel.load(path).get_fdata()


# DICOM


def test_a_ct_keeps_its_levels_and_becomes_a_derived_object(core: Core):
    said = good(CT, *TO, "--seed", 4).stderr
    assert "CT_small.dcm has levels -896 to 1167: -896 to 1167 become black to white" in said
    source, result = pydicom.dcmread(CT), pydicom.dcmread("CT_small-translated.dcm")
    assert (result.pixel_array == source.pixel_array).all()
    assert (result.RescaleSlope, result.RescaleIntercept) == (1, -1024)
    assert result.SOPClassUID == source.SOPClassUID == result.file_meta.MediaStorageSOPClassUID
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert UID(result[keyword].value).is_valid and result[keyword] != source[keyword]
    assert list(result.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert result.SyntheticData == "YES"
    assert "never for diagnosis" in result.DerivationDescription
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
        assert result[keyword].value == source[keyword].value
    assert (result.WindowCenter, result.WindowWidth) == (136, 2064)  # PS3.3 C.11.2.1.2: -896 to 1167


def test_nothing_of_the_patient_is_in_the_result_unless_it_is_asked_for(core: Core):
    secret = {
        "PatientName": "Jönsson^Ö", "PatientID": "SECRET-1", "OtherPatientIDs": "SECRET-2",
        "InstitutionName": "SECRET-3", "StudyDescription": "SECRET-4", "ImageComments": "SECRET-5",
        "SpecificCharacterSet": "ISO_IR 100",
    }  # fmt: skip
    source = changed(CT, "SECRET-6.dcm", **secret)
    good(source, *TO, "-o", "out.dcm")
    content = Path("out.dcm").read_bytes()
    assert b"SECRET" not in content and b"nsson" not in content
    kept = {element.keyword for element in pydicom.dcmread("out.dcm") if element.value not in ("", None)}
    assert not kept & {"PatientName", "PatientBirthDate", "AccessionNumber", "StudyDate", "OtherPatientIDs"}
    good(source, *TO, "--keep-identity", "-o", "own.dcm")
    own = pydicom.dcmread("own.dcm")
    assert (str(own.PatientName), own.PatientID) == ("Jönsson^Ö", "SECRET-1")
    assert own.StudyInstanceUID == pydicom.dcmread(CT).StudyInstanceUID
    assert own.get("InstitutionName") is None and own.get("OtherPatientIDs") is None


@pytest.mark.parametrize("fit", ["keep", "crop"])
def test_another_size_scales_spacing_and_position(core: Core, monkeypatch: pytest.MonkeyPatch, fit: str):
    monkeypatch.setattr(MODELS.ddpm, "image_size", 64)
    wide = pydicom.dcmread(CT)
    wide.PixelData, wide.Rows = wide.pixel_array[:96].tobytes(), 96
    wide.save_as("wide.dcm")
    good("wide.dcm", *TO, "--size", "model", "--fit", fit, "-o", "out.dcm")
    out = pydicom.dcmread("out.dcm")

    def corners(header: Dataset) -> np.ndarray:
        """The outer corners of the image in space: half a pixel beyond the centers of its pixels."""
        along, down = np.split(np.array(header.ImageOrientationPatient, float), 2)
        high, wide = map(float, header.PixelSpacing)
        first = np.array(header.ImagePositionPatient, float) - along * wide / 2 - down * high / 2
        return np.array([first, first + along * wide * header.Columns + down * high * header.Rows])

    here = corners(wide)
    if fit == "crop":
        here += np.array([[1], [-1]]) * np.array([16 * 0.661468, 0, 0])
    assert np.allclose(corners(out), here, atol=1e-3)
    assert (out.Rows, out.Columns) != (96, 128)


def test_monochrome1_is_seen_upright_and_comes_back_as_it_was(core: Core):
    source = changed(CT, "negative.dcm", PhotometricInterpretation="MONOCHROME1")
    good(source, *TO, "-o", "out.dcm")
    result = pydicom.dcmread("out.dcm")
    assert (result.pixel_array == pydicom.dcmread(CT).pixel_array).all()
    assert result.PhotometricInterpretation == "MONOCHROME1"
    good(CT, *TO, "-o", "positive.dcm")
    assert torch.allclose(core.seen[0], -core.seen[1], atol=1e-6)
    said = good(source, *TO, "--size", "source", "-o", "out.png").stderr
    assert "those of MONOCHROME1 are mirrored in the window" in said
    seen = np.asarray(Image.open("out.png")).astype(float) / 65_535
    assert np.abs(seen - (1167 - levels_of(CT)) / 2063).max() < 1e-3


def test_the_window_of_the_file_is_taken_and_another_may_be_given(core: Core):
    mr = DICOM_SAMPLES / "MR_small.dcm"
    assert "-200 to 1399, the window that the file names, become" in good(mr, *TO, "-o", "a.dcm").stderr
    assert (levels_of("a.dcm") == levels_of(mr).clip(-200, 1399)).all()
    good(CT, *TO, "--window", "40,400", "-o", "b.dcm")
    assert (levels_of("b.dcm") == levels_of(CT).clip(-160, 240)).all()
    good(CT, *TO, "--window", "full", "-o", "c.dcm")
    assert (levels_of("c.dcm") == levels_of(CT)).all() and core.seen[-1].abs().max() < 0.1
    said = good(changed(mr, "zero.dcm", WindowWidth=1), *TO, "-o", "d.dcm").stderr
    assert "names a window of width 1, which is left out" in said and "127 to 2145 become" in said
    assert "shows nothing of" in refused(CT, *TO, "--window", "9000,100")


def test_padding_does_not_count_for_the_window(core: Core):
    header = pydicom.dcmread(CT)
    pixels = header.pixel_array.copy()
    pixels[:9] = -2000
    header.PixelData = pixels.tobytes()
    header.save_as("padded.dcm")
    assert "-881 to 1167 become black to white" in good("padded.dcm", *TO, "-o", "out.dcm").stderr


@pytest.mark.parametrize(("slope", "intercept"), [(0.25, -3.5), (-2, 100), (1, 0)])
def test_slope_and_intercept_are_undone_on_writing(core: Core, slope: float, intercept: float):
    source = changed(CT, "scaled.dcm", RescaleSlope=slope, RescaleIntercept=intercept)
    good(source, *TO, "-o", "out.dcm")
    result = pydicom.dcmread("out.dcm")
    assert (result.pixel_array == pydicom.dcmread(CT).pixel_array).all()
    assert (float(result.RescaleSlope), float(result.RescaleIntercept)) == (slope, intercept)


def test_a_modality_lut_gives_its_levels(core: Core):
    header = pydicom.dcmread(CT)
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.LUTData = (16 * np.arange(4096)).astype(np.uint16).tobytes()
    header.ModalityLUTSequence = [table]
    del header.RescaleSlope, header.RescaleIntercept
    header.save_as("lut.dcm")
    good("lut.dcm", *TO, "-o", "out.dcm")
    result = pydicom.dcmread("out.dcm")
    assert (
        result.pixel_array == header.pixel_array.astype(int) * 16
    ).all() and "ModalityLUTSequence" not in result


def test_pictures_of_a_ct_have_its_units(core: Core):
    good(CT, *TO, "--size", "source", "-o", "out.tif")
    assert (tifffile.imread("out.tif") == levels_of(CT)).all()
    good(CT, *TO, "--size", "source", "-o", "out.png")
    assert np.asarray(Image.open("out.png")).dtype == np.uint16
    text = read_text(Path("out.png"))
    assert text is not None and Recipe.from_text(text, "out.png").source.path == ""  # type: ignore[union-attr]


def test_frames_are_cut_and_become_a_secondary_capture(core: Core):
    video = DICOM_SAMPLES / "examples_ybr_color.dcm"
    good(video, *TO, "--slices", "2:4", "-o", "out.dcm")
    result = pydicom.dcmread("out.dcm")
    assert result.SOPClassUID.name == "Multi-frame True Color Secondary Capture Image Storage"
    assert list(result.SourceImageSequence[0].ReferencedFrameNumber) == [3, 4]
    assert (result.pixel_array == pydicom.dcmread(video).pixel_array[2:4]).all()
    assert core.seeds == {0}
    good(video, *TO, "--slices", "5", "--size", "source", "-o", "five.png")
    assert (np.asarray(Image.open("five.png")) == pydicom.dcmread(video).pixel_array[5]).all()
    assert "has 30 frames: choose one with --slices N" in refused(video, *TO, "-o", "all.png")
    assert "has 30 frames, counted from 0: --slices 29:31 is beyond" in refused(
        video, *TO, "--slices", "29:31"
    )


def enhanced(path: str, scales: list[tuple[float, float]]) -> np.ndarray:
    """An enhanced CT of frames with scales of their own, and the levels of its frames."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2.1", generate_uid()
    header.SeriesInstanceUID, header.Modality = generate_uid(), "CT"
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    stored = np.random.default_rng(3).integers(0, 4096, (len(scales), 32, 32)).astype(np.uint16)
    header.Rows = header.Columns = 32
    header.NumberOfFrames, header.SamplesPerPixel, header.PhotometricInterpretation = (
        len(scales),
        1,
        "MONOCHROME2",
    )
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelData = stored.tobytes()

    def item(**values: object) -> Dataset:
        made = Dataset()
        for keyword, value in values.items():
            setattr(made, keyword, value)
        return made

    frames = []
    for number, (slope, intercept) in enumerate(scales):
        scale = item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
        content = item(StackID="1", InStackPositionNumber=number + 1, FrameComments="SECRET")
        frames.append(
            item(
                PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2.5 * number])],
                PixelValueTransformationSequence=[scale],
                FrameContentSequence=[content],
            )
        )
    header.PerFrameFunctionalGroupsSequence = frames
    measures = item(PixelSpacing=[0.5, 0.5], SliceThickness=2.5)
    orientation = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    header.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    header.save_as(path, enforce_file_format=True)
    return np.stack(
        [stored[i].astype(float) * slope + intercept for i, (slope, intercept) in enumerate(scales)]
    )


def test_enhanced_frames_keep_their_scale_and_place(core: Core):
    levels = enhanced("ct.dcm", [(1, -1024), (0.5, 0), (2, -5)])
    good("ct.dcm", *TO, "--slices", "1:", "-o", "out.dcm")
    result = pydicom.dcmread("out.dcm")
    groups = result.PerFrameFunctionalGroupsSequence
    scales = [group.PixelValueTransformationSequence[0] for group in groups]
    made = [
        frame * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        for frame, scale in zip(result.pixel_array, scales, strict=True)
    ]
    assert np.abs(np.stack(made) - levels[1:]).max() <= 0.51
    assert result.NumberOfFrames == 2 and result.SOPClassUID.name == "Enhanced CT Image Storage"
    assert [group.PlanePositionSequence[0].ImagePositionPatient[2] for group in groups] == [2.5, 5]
    assert b"SECRET" not in Path("out.dcm").read_bytes()


def test_again_repeats_a_result_in_dicom(core: Core):
    good(CT, *TO, "--window", "40,400", "-o", "out.dcm")
    good(CT, "--again", "out.dcm", "-o", "again.dcm")
    assert (pydicom.dcmread("again.dcm").pixel_array == pydicom.dcmread("out.dcm").pixel_array).all()
    text = read_text(Path("again.dcm"))
    assert text is not None and Recipe.from_text(text, "again.dcm").window == Window(-160, 240)


def test_a_folder_of_a_series_without_extensions(core: Core):
    for number in range(2):
        changed(CT, f"in.{number}", InstanceNumber=number, SOPInstanceUID=f"1.2.3.{number}")
        Path("in").mkdir(exist_ok=True)
        Path(f"in.{number}").rename(f"in/1.2.840.{number}")
    Path("in/notes.txt").write_text("no image")
    nibabel.save(nibabel.Nifti1Image(volume(ANATOMY)[:, :, 3:5], np.eye(4)), "in/brain.nii.gz")
    good("in", *TO, "-o", "out")
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"1.2.840.0.dcm", "1.2.840.1.dcm", "brain.nii.gz", "verdicts.csv"}
    first, second = (pydicom.dcmread(f"out/1.2.840.{number}.dcm") for number in range(2))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert "0 translated" in good("in", *TO, "-o", "out").stdout


SAMPLES = sorted(path for path in DICOM_SAMPLES.rglob("*") if path.suffix in ("", ".dcm") and path.is_file())


@pytest.mark.slow
def test_every_sample_of_pydicom_comes_back_or_is_refused_in_one_line(core: Core):
    """What pydicom decodes and what has a size that models take is read: here the others are counted."""
    read = 0
    for sample in SAMPLES:
        if "TINY_ALPHA" in sample.parts:  # of one by one pixels
            continue
        source = sample if sample.suffix else Path(f"{sample.name}.dcm")
        source.write_bytes(sample.read_bytes()) if not sample.suffix else None
        result = run(source, *TO, "--window", "auto", "-o", "out.dcm")
        if result.exit_code:
            assert result.exit_code == 2 and result.stderr.count("Error: ") == 1, result.output
            continue
        read += 1
        assert pydicom.dcmread("out.dcm").pixel_array.any()
    assert read >= 60


def one_bit(frames: int, photometric: str = "MONOCHROME2") -> np.ndarray:
    """Write bits.dcm, a scan of black and white whose frames end within a byte, and return its pixels, 0 and 1."""
    bits = np.random.default_rng(1).integers(0, 2, (frames, 33, 41)).astype(np.uint8)
    bits = np.kron(bits[:, ::3, ::3], np.ones((3, 3), np.uint8))[:, :33, :41]
    header = pydicom.dcmread(CT)
    for name in ("PixelSpacing", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue"):
        delattr(header, name) if name in header else None
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.1"
    header.BitsAllocated = header.BitsStored = 1
    header.HighBit = header.PixelRepresentation = 0
    header.Rows, header.Columns, header.NumberOfFrames = 33, 41, frames
    header.PhotometricInterpretation = photometric
    header.PixelData = pydicom.pixels.pack_bits(bits)
    header.save_as("bits.dcm")
    return bits


@pytest.mark.parametrize("frames", [1, 3])
def test_pixels_of_one_bit_come_back_with_grays(core: Core, frames: int):
    bits = one_bit(frames)
    good("bits.dcm", *TO)
    result = pydicom.dcmread("bits-translated.dcm")
    assert (result.pixel_array.reshape(bits.shape) == 255 * bits).all()
    assert result.SOPClassUID.name == "Multi-frame Grayscale Byte Secondary Capture Image Storage"
    assert result.BitsAllocated == result.BitsStored == 8 and result.NumberOfFrames == frames
    assert result.SyntheticData == "YES" and "ImagePositionPatient" not in result
    good("bits.dcm", *TO, "--slices", frames - 1, "--size", "source", "-o", "out.png")
    assert (np.array(Image.open("out.png")) == 255 * bits[-1]).all()


def test_one_bit_that_does_not_fit_is_refused(core: Core):
    one_bit(1, "MONOCHROME1")
    assert "has pixels of 1 bit in MONOCHROME1: give -o NAME.png" in run("bits.dcm", *TO).stderr
    one_bit(2)
    assert "more than the file holds" in refused(
        changed(Path("bits.dcm"), "cut.dcm", NumberOfFrames=900), *TO
    )


def test_a_segmentation_is_a_mask_and_no_source(core: Core):
    liver = DICOM_SAMPLES / "liver_1frame.dcm"
    said = refused(liver, *TO)
    assert "is a segmentation, which is no image: give it with --mask" in said
    Image.new("RGB", (512, 512), (40, 40, 40)).save("plain.png")
    good("plain.png", *TO, "--mask", liver, "-o", "out.png")
    with pytest.warns(UserWarning, match="become black to white"):
        mask = np.array(read_picture(liver).rgb)
    assert (mask == 255 * pydicom.dcmread(liver).pixel_array[..., None]).all() and mask.any()


def lut(first: int, table: np.ndarray, kind: str = "SS") -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, kind, [len(table), first, 16])
    item.LUTData = table.astype("<u2").tobytes()
    return item


RISE = np.r_[np.zeros(100), np.linspace(0, 65_535, 801), np.full(50, 65_535)]


@pytest.mark.parametrize(
    ("items", "window"),
    [
        ([lut(0, RISE)], (100, 900)),
        ([lut(-1000, RISE)], (-900, -100)),
        ([lut(65_536 - 1000, RISE, "US")], (-900, -100)),
        ([lut(0, 65_535 / (1 + np.exp(-np.linspace(-10, 10, 1001))))], (265, 735)),
        ([lut(0, RISE[::-1])], None),
        ([lut(0, np.zeros(9))], None),
        ([Dataset()], None),
    ],
)
def test_a_voi_lut_gives_the_window(core: Core, items: list[Dataset], window: tuple[int, int] | None):
    header = pydicom.dcmread(CT)
    header.VOILUTSequence = items
    header.save_as("lut.dcm")
    result = good("lut.dcm", *TO)
    if window is None:
        assert "has a VOI LUT that does not rise, which is left out" in result.stderr
        return
    assert "the window that the file names, become black to white" in result.stderr
    low, high = window
    made = pydicom.dcmread("lut-translated.dcm")
    assert made.WindowCenter == pytest.approx((low + high + 1) / 2, abs=1.5)
    assert made.WindowWidth == pytest.approx(high - low + 1, abs=3)
    assert "VOILUTSequence" not in made


def test_the_window_of_a_file_goes_before_its_lut(core: Core):
    file = changed(CT, "both.dcm", VOILUTSequence=[lut(0, RISE)], WindowCenter=200, WindowWidth=101)
    assert "149.5 to 249.5" in good(file, *TO).stderr


# NIfTI


def test_a_volume_comes_back_whole(core: Core):
    good(ANATOMY, *TO)
    source, result = nibabel.load(ANATOMY), nibabel.load("anatomical-translated.nii.gz")
    assert (result.get_fdata() == source.get_fdata()).all()
    assert (
        result.affine == source.affine
    ).all() and result.header.get_data_dtype() == source.get_data_dtype()
    for field in ("sform_code", "qform_code", "pixdim", "xyzt_units", "srow_x", "quatern_b"):
        assert (np.ravel(result.header[field])[:4] == np.ravel(source.header[field])[:4]).all()
    assert len(core.seen) == source.shape[2] and core.seeds == {0}
    assert not Path("anatomical-translated.nii.gz.parts").exists()


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("size", ["source", "model"])
def test_a_cut_or_resized_volume_stays_where_it_is_in_the_world(core: Core, axis: str, size: str):
    """Levels are a linear function of the place in the world, so that they tell where a voxel is."""
    rotation = nibabel.eulerangles.euler2mat(0.2, -0.1, 0.15)
    affine = nibabel.affines.from_matvec(rotation @ np.diag([-2.0, 1.5, 2.5])[:, [1, 0, 2]], [10, -20, 30])
    places = nibabel.affines.apply_affine(affine, np.moveaxis(np.indices((24, 20, 16)), 0, -1))
    source = nibabel.Nifti1Image((places @ [1.0, 2.0, -1.5]).astype(np.float32), affine)
    source.header.set_qform(affine, 1)
    nibabel.save(source, "ramp.nii")
    good("ramp.nii", *TO, "--axis", axis, "--slices", "3:6", "--size", size, "-o", "out.nii")
    result = nibabel.load("out.nii")
    there = nibabel.affines.apply_affine(result.affine, np.moveaxis(np.indices(result.shape), 0, -1))
    error = np.abs(there @ [1.0, 2.0, -1.5] - result.get_fdata())
    # Resizing bends a ramp near the borders.
    inner = error if size == "source" else np.sort(error.ravel())[: error.size // 2]
    assert inner.max() < 0.15 and 3 in result.shape
    assert np.allclose(result.get_qform(), result.affine, atol=1e-4)


def test_slices_are_seen_upright(core: Core):
    """Of a box whose front, top, and right are bright, the front is up, or the top, and the right is on the left."""
    data = np.zeros((12, 14, 16), np.int16)
    data[9:, 11:, 13:] = 100
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), "box.nii")
    for axis, number in (("axial", 14), ("coronal", 12), ("sagittal", 10)):
        good("box.nii", *TO, "--axis", axis, "--slices", number, "--fit", "stretch", "-o", "out.nii")
        image = core.seen[-1][0, 0]
        assert image[:16, :16].min() > 0.8 and max(image[:16, -16:].max(), image[-16:, :16].max()) < -0.8, (
            axis
        )


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_the_type_of_the_levels_and_their_scale_are_kept(core: Core, kind: type):
    data = np.random.default_rng(1).integers(0, 200, (16, 16, 3)).astype(kind)
    image = nibabel.Nifti1Image(data, np.diag([1, 2, 3, 1]))
    whole = np.dtype(kind).kind in "iu"
    image.header.set_slope_inter(0.5 if whole else 1, -20 if whole else 0)
    image.to_filename("source.nii.gz")
    good("source.nii.gz", *TO, "-o", "out.nii.gz")
    result = nibabel.load("out.nii.gz")
    assert result.get_data_dtype() == kind
    assert np.allclose(result.get_fdata(), volume("source.nii.gz"), atol=1e-4)
    assert (
        np.array_equal(result.dataobj.get_unscaled(), nibabel.load("source.nii.gz").dataobj.get_unscaled())
        or not whole
    )


def test_one_of_several_volumes_is_asked_for(core: Core):
    sample = NIFTI_SAMPLES / "example4d.nii.gz"
    assert "has 2 volumes: choose one with --volume, 0 to 1" in refused(sample, *TO)
    assert "--volume 2 is beyond" in refused(sample, *TO, "--volume", 2)
    good(sample, *TO, "--volume", 1, "--slices", "4:6", "--window", "full", "-o", "out.nii")
    assert np.array_equal(volume("out.nii"), volume(sample)[:, :, 4:6, 1])
    assert read_text(Path("out.nii")) and read_text(sample) is None
    assert not nibabel.load("out.nii").header.extensions.count(4)


def test_a_mask_of_voxels_protects_the_rest(core: Core):
    core.sign = -1
    rng = np.random.default_rng(4)
    data = rng.integers(0, 1000, (24, 20, 9)).astype(np.int16)
    mask = np.zeros(data.shape, np.uint8)
    mask[5:12, 4:9, :3] = 1
    affine = np.diag([-1, 1, 2, 1])
    nibabel.save(nibabel.Nifti1Image(data, affine), "source.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, affine), "mask.nii.gz")
    good("source.nii.gz", *TO, "--mask", "mask.nii.gz", "--axis", "coronal", "-o", "out.nii")
    assert (volume("out.nii")[mask == 0] == data[mask == 0]).all()
    assert np.abs(volume("out.nii") + data - data.max() - data.min())[mask == 1].max() <= 1
    assert len(core.seen) == 5  # of 20 slices, the others being protected whole
    assert "was not found: say with --mask where it is" in run("source.nii.gz", "--again", "out.nii").stderr
    good("source.nii.gz", "--again", "out.nii", "--mask", "mask.nii.gz", "-o", "again.nii")
    assert (volume("again.nii") == volume("out.nii")).all()
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), "elsewhere.nii")
    said = run("source.nii.gz", *TO, "--mask", "elsewhere.nii").stderr
    assert "elsewhere.nii has another shape or affine than source.nii.gz" in said
    assert "is a mask in NIfTI, which is for one NIfTI volume" in run(CT, *TO, "--mask", "mask.nii.gz").stderr


def test_again_repeats_a_cut(core: Core):
    good(ANATOMY, *TO, "--axis", "coronal", "--slices", "5:7", "--window", "5000,4000", "-o", "out.nii")
    good(ANATOMY, "--again", "out.nii", "-o", "again.nii")
    assert np.array_equal(volume("again.nii"), volume("out.nii"))
    text = read_text(Path("again.nii"))
    assert text is not None and Recipe.from_text(text, "again.nii").cut == Cut(5, 7, "coronal")


def test_texts_of_the_header_do_not_travel(core: Core):
    image = nibabel.Nifti1Image(np.arange(16 * 16 * 2).reshape(16, 16, 2).astype(np.int16), np.eye(4))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"SECRET"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"SECRET"))
    nibabel.save(image, "source.nii")
    good("source.nii", *TO, "-o", "out.nii")
    assert b"SECRET" not in Path("out.nii").read_bytes()


def test_a_run_that_ended_early_goes_on(core: Core):
    core.fails_at = 2
    assert run(ANATOMY, *TO, "-o", "out.nii").exit_code == 1
    assert not Path("out.nii").exists() and len(list(Path("out.nii.parts").glob("*.npy"))) == 2
    core.fails_at = -1
    assert "holds slices of other settings" in run(ANATOMY, *TO, "--seed", 9, "-o", "out.nii").stderr
    good(ANATOMY, *TO, "-o", "out.nii")
    assert len(core.seen) == 25 and (volume("out.nii") == volume(ANATOMY)).all()
    assert not Path("out.nii.parts").exists()


def test_a_volume_as_a_style_and_a_slice_as_a_picture(core: Core):
    said = good(CT, "--style", ANATOMY, "-o", "out.dcm").stderr
    assert "anatomical.nii has 25 slices: number 12 is used" in said
    good(ANATOMY, *TO, "--slices", "7", "--size", "source", "-o", "slice.tif")
    image = tifffile.imread("slice.tif")
    assert np.array_equal(image[::-1].T, volume(ANATOMY)[:, :, 7])


# Bad input


def nifti(**fields: object) -> bytes:
    """A volume of 16 x 16 x 2 zeros whose header says something else."""
    image = nibabel.Nifti1Image(np.arange(512).reshape(16, 16, 2).astype(np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (nifti(dim=[3, 30_000, 30_000, 30_000, 1, 1, 1, 1]), "more than a file of"),
        (nifti(dim=[3, -4, 16, 2, 1, 1, 1, 1]), "has a side of -4"),
        (nifti(vox_offset=3e38), "MiB of header"),
        (nifti(vox_offset=np.nan), "MiB of header"),
        (nifti(datatype=32, bitpix=64), "more than a file of"),
        (nifti(datatype=128, bitpix=24, dim=[3, 8, 8, 2, 1, 1, 1, 1]), "has colors or complex numbers"),
        (nifti(magic=b"ni1"), "is no NIfTI file of one piece"),
        (nifti()[:700], "more than a file of"),
        (nifti()[:200], "no NIfTI file"),
        (b"", "is no NIfTI file"),
        (nifti(sform_code=1, srow_x=[np.nan] * 4), "NIfTI file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_nifti(core: Core, content: bytes, line: str, packed: bool):
    name = "bad.nii.gz" if packed else "bad.nii"
    Path(name).write_bytes(gzip.compress(content) if packed else content)
    said = refused(name, *TO)
    assert line in said or (packed and "is cut off" in said)
    assert not core.seen


def test_not_a_number_is_named_before_the_work(core: Core):
    assert "not finite numbers (NaN or infinity) in slice 0" in refused(
        NIFTI_SAMPLES / "resampled_anat_moved.nii", *TO
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"PixelData": None}, "is a DICOM file without pixels (CT Image Storage)"),
        ({"Rows": 60_000, "Columns": 60_000}, "make it smaller than 256 megapixels"),
        ({"NumberOfFrames": 100_000}, "more than the file holds"),
        ({"Rows": 16_000, "Columns": 16_000}, "more than the file holds"),
        ({"RescaleSlope": 0}, "has a rescale slope of 0"),
        ({"PhotometricInterpretation": "CMYK"}, "has colors of the kind CMYK"),
        ({"BitsAllocated": 4}, "has pixels of 4 bits"),
        ({"SamplesPerPixel": 3}, "which do not fit its colors"),
    ],
    ids=str,
)
def test_bad_dicom(core: Core, values: dict, line: str):
    said = refused(changed(CT, "bad.dcm", **values), *TO)
    assert line in said and not core.seen


def test_a_compression_without_its_plugin_is_named(core: Core):
    said = refused(DICOM_SAMPLES / "SC_rgb_jpeg_gdcm.dcm", *TO)
    assert "is compressed as JPEG Lossless" in said and "run pip install python-gdcm" in said
    header = pydicom.dcmread(CT)
    header.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")  # MPEG-4, a film
    header.PixelData = pydicom.encaps.encapsulate([b"film"])
    header.save_as("film.dcm")
    assert "which is not read: save it without compression" in refused("film.dcm", *TO)


@pytest.mark.parametrize(("library", "source"), [("pydicom", CT), ("nibabel", ANATOMY)])
def test_a_missing_library_is_named(core: Core, monkeypatch: pytest.MonkeyPatch, library: str, source: Path):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    assert "run pip install 'diffuseit[medical]'" in refused(source, *TO)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((CT, "--axis", "coronal"), "leave out --volume and --axis"),
        ((CT, "--slices", "3:1"), "use A:B with A below B"),
        ((CT, "--slices", "one"), "--slices is 'one': use A:B, counted from 0, B not included"),
        ((CT, "--variations", 2), "--variations makes pictures"),
        ((CT, "-o", "out.nii"), "has no image extension"),
        (("plain.png", "-o", "out.dcm"), "has no image extension"),
        (("plain.png", "--slices", "1"), "are for DICOM and NIfTI files"),
        ((ANATOMY, "--with-labels", "."), "the labels of a volume fit its result"),
        (("missing.dcm",), "cannot be opened"),
    ],
    ids=str,
)
def test_bad_calls(core: Core, arguments: tuple, line: str):
    Image.new("RGB", (64, 64)).save("plain.png")
    result = run(*arguments, *TO)
    assert result.exit_code == 2 and line in result.stderr and not core.seen


@pytest.mark.parametrize(
    "sample", [CT, DICOM_SAMPLES / "MR_small_RLE.dcm", NIFTI_SAMPLES / "functional.nii"], ids=lambda p: p.name
)
def test_damaged_files_never_end_in_a_traceback(core: Core, sample: Path):
    whole, random = sample.read_bytes(), np.random.default_rng(5)
    for _ in range(12):
        content = bytearray(whole)
        for place in random.integers(0, min(len(whole), 2500), 6):
            content[place] = random.integers(0, 256)
        if random.random() < 0.3:
            del content[int(random.integers(1, len(whole))) :]
        damaged = Path(f"damaged{sample.suffix}")
        damaged.write_bytes(content)
        result = run(
            damaged,
            *TO,
            "--slices",
            "0",
            *(["--volume", 3] if sample.suffix == ".nii" else []),
            "-o",
            f"out{sample.suffix}",
        )
        assert result.exit_code in (0, 2), result.output
        assert not re.search(r"Traceback|Error: .*\n.+", result.stderr), result.stderr
