"""Small whole files of all kinds that the package reads, to be damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle_tools
from segment_videos import write_video

from rhmnet.files.images import write_mask

SIZE = (24, 36)
POLYGON = [[2.0, 2.0, 20.0, 2.0, 20.0, 18.0, 2.0, 18.0]]


def make_pictures(folder: Path) -> list[Path]:
    """Photographs of every format, depth and turn."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    grey, deep = rgb[..., 0], rgb[..., 0].astype(np.uint16) * 257
    turned = Image.Exif()
    turned[274] = 6
    made = {
        "rgb.jpg": (rgb, {"exif": turned}),
        "grey.jpg": (grey, {"progressive": True}),
        "rgb.png": (rgb, {"exif": turned}),
        "deep.png": (deep, {}),
        "rgb.bmp": (rgb, {}),
        "deep.tif": (deep, {}),
        "packed.tif": (rgb, {"compression": "tiff_lzw"}),
        "float.tif": ((grey / 255).astype(np.float32), {"compression": "tiff_adobe_deflate"}),
        "rgb.webp": (rgb, {"exif": turned}),
        "rgb.gif": (grey, {}),
        "rgb.ppm": (rgb, {}),
    }
    for name, (array, options) in made.items():
        Image.fromarray(array).save(folder / name, **options)
    Image.fromarray(grey).convert("1").save(folder / "bits.png")
    return [folder / name for name in (*made, "bits.png")]


def make_strokes(folder: Path) -> list[Path]:
    """Label maps and painted strokes of two objects."""
    labels = np.zeros(SIZE, np.uint8)
    labels[4, 4:30], labels[12, 4:30], labels[20, 4:30] = 1, 2, 255
    write_mask(folder / "palette.png", labels)
    Image.fromarray(labels).save(folder / "grey.bmp")
    Image.fromarray(labels).save(folder / "grey.png")
    small = Image.fromarray((labels > 0).astype(np.uint8)).convert("P")
    small.putpalette([0, 0, 0, 255, 0, 0, *([0] * 762)])
    small.save(folder / "bits.bmp", bits=4)
    colours = np.array([[0, 0, 0, 0], [255, 0, 0, 255], [0, 0, 255, 255]], np.uint8)
    layer = np.kron(colours[np.where(labels == 255, 0, labels)], np.ones((8, 8, 1), np.uint8))
    Image.fromarray(layer).save(folder / "layer.png")
    Image.fromarray(layer).save(folder / "layer.webp", lossless=True)
    Image.fromarray(layer[..., :3]).save(folder / "black.jpg", quality=98)
    Image.fromarray(layer[..., :3]).save(folder / "black.tif")
    Image.fromarray(layer[..., :3]).convert("P").save(folder / "black.gif")
    return sorted(folder.iterdir())


def make_videos(folder: Path) -> list[Path]:
    """Videos and animations of six frames."""
    for name, code in (("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.webm", "VP80"), ("a.mkv", "mp4v")):
        write_video(folder / name, 6, code=code)
    frames = [Image.new("L", SIZE[::-1], 40 * n) for n in range(6)]
    for name in ("a.gif", "a.tif", "a.webp", "a.apng"):
        more = {"format": "PNG"} if name == "a.apng" else {}
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], **more)
    return sorted(folder.iterdir())


def make_lists(folder: Path) -> list[Path]:
    """Text of all kinds: lines, JSON, SVG, YAML."""
    line = {"path": [[0.1, 0.1], [0.9, 0.5]], "object_id": 1, "thickness": 3}
    shape = {"label": "1", "points": [[2, 2], [20, 9]], "shape_type": "linestrip", "thickness": 2}
    rle = {"counts": [100, 300, SIZE[0] * SIZE[1] - 400], "size": list(SIZE)}
    inside = np.zeros(SIZE, np.uint8, order="F")
    inside[3:9, 4:30] = 1
    coded = {"size": list(SIZE), "counts": rle_tools.encode(inside)["counts"].decode()}
    annotations = [
        {"id": n, "image_id": 7, "iscrowd": n % 2, "category_id": 1, "segmentation": outline}
        for n, outline in enumerate((POLYGON, rle, POLYGON, coded))
    ]
    image = {"id": 7, "file_name": "a/7.jpg", "height": SIZE[0], "width": SIZE[1]}
    group = {"objects": {"1": {"category": "x", "frames": ["00000", "00005"]}}}
    contents = {
        "davis.json": {"scribbles": [[line, {**line, "object_id": 0}]], "size": list(SIZE)},
        "labelme.json": {"shapes": [shape], "imageHeight": SIZE[0], "imageWidth": SIZE[1]},
        "instances.json": {"images": [image], "annotations": annotations, "categories": []},
        "COCO_scribbles.json": {
            "images": [{"file_name": "7.jpg", "anno_name": "7.bmp", "num_objects": 2}]
        },
        "meta.json": {"videos": {"ant": group, "bee": group}},
        "manifest.json": {"made_by": {"weights": "x"}, "prompts": {"ant": "y"}, "checkpoint": "z"},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "names.txt").write_text("ant\nbee\nsome name\n")
    (folder / "lines.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="36" height="24" viewBox="0 0 36 24">'
        '<g data-label="1" transform="rotate(3) scale(1.5)"><path d="M 2 2 L 9 9 C 1 2 3 4 5 6 '
        'A 3 4 0 0 1 9 9 Z" stroke-width="3"/><line x1="1" y1="2" x2="8" y2="9"/>'
        '<polyline points="1,2 3,4 5,6"/></g></svg>'
    )
    (folder / "config.yaml").write_text(
        "model: {backbone: resnet18, hidden_dim: 32, refine_threshold: [0.6, 0.9]}\n"
        "data:\n  crop_size: [64, 64]\n  root: datasets\ntrain:\n  lr: 1.0e-3\n  epochs: 3\n"
        "test: {precision: float32, max_memory_length: 4}\n"
    )
    return sorted(folder.iterdir())
