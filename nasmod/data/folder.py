"""A folder of pictures, one folder a class: PNG, JPEG and whatever else Pillow reads (the extra ``nasmod[images]``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, DataPath, Dataset, DataSettings, Split
from nasmod.data.reading import Part, Reading, of_classes
from nasmod.errors import DataError

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
PARTS = {"train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test"}
Colours = Literal["auto", "grey", "rgb"]


class FolderSettings(DataSettings):
    """Where the pictures lie, and what they are brought to."""

    name: str = "folder"
    path: DataPath = Field(
        description="a folder with a folder a class, or with train, test and so on, and those in them"
    )
    size: tuple[int, int] | None = Field(
        None, description="height and width to which all are resized; else all have one"
    )
    colours: Colours = Field("auto", description="grey, rgb, or auto: grey where all are")

    @field_validator("size")
    @classmethod
    def _possible(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
            raise ValueError("height and width are at least 1")
        return size


def load(settings: FolderSettings) -> Dataset:
    """Pictures in class folders (PNG, JPEG …), with folders train and test above those where the splits are given."""
    root = Path(settings.path)
    found = _by_part(root)
    names = sorted({path.parent.name for paths in found.values() for path in paths})
    if len(names) < 2:
        raise DataError(f"Folder '{root}' needs a folder of pictures for each of two classes or more; got {names}.")
    everything = [path for paths in found.values() for path in paths]
    colours = settings.colours if settings.colours != "auto" else _common_colours(everything)
    size = settings.size or _common_size(everything)
    splits = {
        part: Split(
            {"x": np.stack([read_picture(path, colours, size) for path in paths])},
            {"y": np.array([names.index(path.parent.name) for path in paths], dtype=np.int64)},
        )
        for part, paths in found.items()
    }
    said, warnings = of_classes(
        "y", np.concatenate([s.targets["y"] for s in splits.values()]), tuple(names), "its folders"
    )
    resized = "resized as size says" if settings.size else "all are of this size"
    holds = f"{len(everything):,} pictures of {size[0]} by {size[1]} pixels"
    part = Part("x", holds, f"{colours}, read as an image {splits['train'].inputs['x'].shape[1:]}", resized)
    passed = _passed_over(root, everything)
    more = [f"{passed} files of the folder are no pictures and were passed over"] if passed else []
    return assemble(
        settings,
        "classification",
        splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        classes={"y": len(names)},
        class_names={"y": tuple(names)},
        reading=Reading(len(everything), f"'{root.name}'", (part,), (said,), (*warnings, *more)),
    )


def holds_pictures(folder: Path) -> bool:
    """Whether there are pictures in a folder's folders."""
    return any(path.suffix.lower() in PICTURES for depth in ("*/*", "*/*/*") for path in folder.glob(depth))


def read_picture(path: Path, colours: Colours, size: tuple[int, int] | None = None) -> Array:
    """A picture as (channels, height, width) of uint8, resized (bilinear) where a size is given that it has not."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            made = picture.convert("L" if colours == "grey" else "RGB")
            if size is not None and made.size != (size[1], size[0]):
                made = made.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            values = np.asarray(made, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for damage
        raise DataError(f"Picture '{path}' cannot be read: {str(error).splitlines()[0]}.") from error
    return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def _by_part(root: Path) -> dict[str, list[Path]]:
    if not root.is_dir():
        raise DataError(f"There is no folder '{root}'.")
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise DataError("Pictures need Pillow: pip install 'nasmod[images]'.") from error
    parts = {PARTS[folder.name.lower()]: folder for folder in sorted(root.iterdir()) if folder.name.lower() in PARTS}
    found = (
        {part: _pictures(folder) for part, folder in parts.items()} if "train" in parts else {"train": _pictures(root)}
    )
    if not found["train"]:
        raise DataError(f"Folder '{root}' has no pictures in folders of classes ({', '.join(sorted(PICTURES))}).")
    return {part: paths for part, paths in found.items() if paths}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.suffix.lower() in PICTURES)


def _passed_over(root: Path, read: Sequence[Path]) -> int:
    return sum(path.is_file() for path in root.rglob("*")) - len(read)


def _looked_at(path: Path) -> tuple[str, tuple[int, int]]:
    """The mode and the size (height, width) of a picture, without decoding it."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.mode, (picture.height, picture.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"Picture '{path}' cannot be read: {str(error).splitlines()[0]}.") from error


def _common_colours(paths: Sequence[Path]) -> Colours:
    return "grey" if {_looked_at(path)[0] for path in paths} <= {"1", "L", "LA", "I;16", "I"} else "rgb"


def _common_size(paths: Sequence[Path]) -> tuple[int, int]:
    sizes = Counter(_looked_at(path)[1] for path in paths)
    (size, _), *others = sizes.most_common()
    if others:
        odd = next(path for path in paths if _looked_at(path)[1] != size)
        height, width = _looked_at(odd)[1]
        raise DataError(
            f"The pictures are of unequal size: most have {size[0]} by {size[1]} pixels, "
            f"'{odd.parent.name}/{odd.name}' has {height} by {width}. Set size = [{size[0]}, {size[1]}], to which all "
            "are resized."
        )
    return size
