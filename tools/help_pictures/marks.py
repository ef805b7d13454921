"""What the nodes of marks say, as pictures of signed files."""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from diffuseit.images.io import read_picture, save_picture, to_pil, to_tensor
from diffuseit.images.marks import SourceType
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.provenance.credential import Credential, local_credential, local_root
from diffuseit.provenance.sign import Origin, Signature
from diffuseit.provenance.verify import verify
from tools.help_pictures.settings import TEXT, Tiles, translated

EDITED: SourceType = "compositeWithTrainedAlgorithmicMedia"


def changes_of(spec: Spec) -> Tiles:
    """Return a signed result, one with a byte changed after signing, and one saved again, by what they are."""
    tasks = build_tasks([spec])
    with TemporaryDirectory() as folder:
        file, keys = Path(folder, "result.png"), Path(folder, "keys")
        _save(to_pil(translated(TEXT, tasks)), file, local_credential(keys))
        tiles = {f"as signed: {_state(file, keys)}": read_picture(file).tensor()}
        changed = read_picture(file).rgb
        changed.paste((255, 0, 0), (28, 28, 36, 36))
        content, late = file.read_bytes(), Path(folder, "late.png")
        changed.save(late)
        # The manifest of the signed file, around the pixels of the other.
        late.write_bytes(_with_pixels_of(content, late.read_bytes()))
        tiles[f"changed: {_state(late, keys)}"] = to_tensor(changed)
        read_picture(file).rgb.save(late)
        tiles[f"saved again: {_state(late, keys)}"] = read_picture(late).tensor()
    return tiles


def sources_of(spec: Spec) -> Tiles:
    """Return a signed result, and two images that it may have been made of."""
    tasks = build_tasks([spec])
    with TemporaryDirectory() as folder:
        file, source, other = (Path(folder, name) for name in ("result.png", "a.png", "b.png"))
        save_picture(to_pil(tasks.source), source)
        save_picture(to_pil(tasks.source.flip(-1)), other)
        _save(to_pil(translated(TEXT, tasks)), file, local_credential(Path(folder, "keys")), source)
        tiles = {"file": read_picture(file).tensor()}
        for each in (source, other):
            of_it = verify(file, source=each).of_source
            tiles[f"{each.name}: {'yes' if of_it else 'no'}"] = read_picture(each).tensor()
    return tiles


def _save(image: Image.Image, file: Path, credential: Credential, source: Path | None = None) -> None:
    save_picture(image, file, mark=EDITED, finish=Signature(credential, Origin(EDITED, source)))


def _state(file: Path, keys: Path) -> str:
    return verify(file, roots=local_root(keys)).signature


def _with_pixels_of(signed: bytes, other: bytes) -> bytes:
    def pixels(content: bytes) -> slice:
        return slice(content.index(b"IDAT") - 4, content.index(b"IEND") - 4)

    return signed[: pixels(signed).start] + other[pixels(other)] + signed[pixels(signed).stop :]
