"""COCO's categories under the numbers that torchvision's detectors have them."""

UNUSED = "N/A"

COCO_CLASSES: tuple[str, ...] = (
    *("__background__", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", UNUSED, "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse"),
    *("sheep", "cow", "elephant", "bear", "zebra", "giraffe", UNUSED, "backpack", "umbrella", UNUSED, UNUSED),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat"),
    *("baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", UNUSED, "wine glass", "cup", "fork"),
    *("knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza"),
    *("donut", "cake", "chair", "couch", "potted plant", "bed", UNUSED, "dining table", UNUSED, UNUSED, "toilet"),
    *(UNUSED, "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", UNUSED, "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""Index 0 is the background; of the 90 numbers of COCO's papers ten have no annotations, as their names say."""
