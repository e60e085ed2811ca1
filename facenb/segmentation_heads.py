"""FCN and DeepLabv3 instead of the U-Net (book: *A network that points*).

Section N of the supplement of Koizumi & Smith 2020 tried both on a ResNet-101 and found no conditions under which they
trained. Here they are for that comparison, from torchvision, with the same five outputs as the U-Net. They decide on a
grid eight times coarser than the image and are then enlarged bilinearly: fine for "which thing is this", coarse for
"which point of the face is this".

They start from random numbers: ImageNet's weights come from labels, and nothing here may.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import segmentation

from facenb.networks import OUTPUTS, Maps, check_size, read_outputs


class SegmentationNetwork(nn.Module):
    """torchvision's `kind` ("fcn_resnet50", "deeplabv3_resnet101", ...) with five outputs, read as `Maps`.

    Takes what the U-Net takes. While training, DeepLabv3 needs two images at least: it normalises a branch that has one
    number per image and channel, and the variance of one number is none.
    """

    def __init__(self, kind: str):
        super().__init__()
        build = getattr(segmentation, kind)
        self.body = build(weights=None, weights_backbone=None, num_classes=OUTPUTS, aux_loss=False)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Maps:
        check_size(image)
        if self.training and len(image) < 2 and isinstance(self.body, segmentation.DeepLabV3):
            raise ValueError("DeepLabv3 trains on two images at least: its batch norm cannot normalise one number")
        return read_outputs(self.body(image)["out"])
