"""The dual-task V-Net with two decoders in PyTorch: one encoder; each decoder has a distance and a segmentation head. The first
decoder goes up by transposed convolutions, the second one by trilinear interpolation (corners aligned) and a 3^3 convolution, so that
the two differ. Parameter names are those of the public two-decoder V-Nets (`encoder.*`, `decoder1.*`, `decoder2.*`; in
`decoder2.*_up.conv` index 0 is the interpolation, 1 the convolution, 2 the normalization), the heads' those of dualvnet.py.
"""
import torch
from torch import nn

from dualvnet import Block, conv_norm_relu, stage


def up(cin, cout, norm, interpolated):
    if not interpolated:
        return Block(conv_norm_relu(cin, cout, 2, norm, True))
    return Block([nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True), *conv_norm_relu(cin, cout, 3, norm)])


class Encoder(nn.Module):
    def __init__(self, channels, f, norm, dropout):
        super().__init__()

        def down(cin, cout):
            return Block(conv_norm_relu(cin, cout, 2, norm))

        self.block_one, self.block_one_dw = stage(channels, f, 1, norm), down(f, 2 * f)
        self.block_two, self.block_two_dw = stage(2 * f, 2 * f, 2, norm), down(2 * f, 4 * f)
        self.block_three, self.block_three_dw = stage(4 * f, 4 * f, 3, norm), down(4 * f, 8 * f)
        self.block_four, self.block_four_dw = stage(8 * f, 8 * f, 3, norm), down(8 * f, 16 * f)
        self.block_five = stage(16 * f, 16 * f, 3, norm)
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x):
        x1 = self.block_one(x)
        x2 = self.block_two(self.block_one_dw(x1))
        x3 = self.block_three(self.block_two_dw(x2))
        x4 = self.block_four(self.block_three_dw(x3))
        return x1, x2, x3, x4, self.dropout(self.block_five(self.block_four_dw(x4)))


class Decoder(nn.Module):
    def __init__(self, classes, f, norm, dropout, interpolated):
        super().__init__()
        self.block_five_up, self.block_six = up(16 * f, 8 * f, norm, interpolated), stage(8 * f, 8 * f, 3, norm)
        self.block_six_up, self.block_seven = up(8 * f, 4 * f, norm, interpolated), stage(4 * f, 4 * f, 3, norm)
        self.block_seven_up, self.block_eight = up(4 * f, 2 * f, norm, interpolated), stage(2 * f, 2 * f, 2, norm)
        self.block_eight_up, self.block_nine = up(2 * f, f, norm, interpolated), stage(f, f, 1, norm)
        self.out_conv = nn.Conv3d(f, classes, 1)  # signed distance head, tanh
        self.out_conv2 = nn.Conv3d(f, classes, 1)  # segmentation head, logits
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, features):
        x1, x2, x3, x4, x5 = features
        x6 = self.block_six(self.block_five_up(x5) + x4)
        x7 = self.block_seven(self.block_six_up(x6) + x3)
        x8 = self.block_eight(self.block_seven_up(x7) + x2)
        x9 = self.dropout(self.block_nine(self.block_eight_up(x8) + x1))
        return torch.tanh(self.out_conv(x9)), self.out_conv2(x9)


class TwoDecoderVNet(nn.Module):
    """Image [N,C,X,Y,Z] -> ((sdf, logits) of decoder 1, (sdf, logits) of decoder 2), each [N,K,X,Y,Z]; X, Y, Z multiples of 16."""

    def __init__(self, channels=1, classes=1, filters=16, dropout=0.0, norm="batch"):
        super().__init__()
        self.encoder = Encoder(channels, filters, norm, dropout)
        self.decoder1 = Decoder(classes, filters, norm, dropout, False)
        self.decoder2 = Decoder(classes, filters, norm, dropout, True)

    def forward(self, x):
        features = self.encoder(x)
        return self.decoder1(features), self.decoder2(features)
