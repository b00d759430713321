"""The glyph classifier: a small MobileNet-style convolutional network."""

from torch import nn


class ConvNormReLU(nn.Sequential):
    def __init__(self, inputs, outputs, kernel=3, stride=1, groups=1):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduced):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        return x * self.sigmoid(self.expand(self.relu(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, and project; adds the input where the shapes agree."""

    def __init__(self, inputs, hidden, outputs, stride=1, squeeze_excite=False):
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvNormReLU(inputs, hidden, kernel=1)
        self.depthwise = ConvNormReLU(hidden, hidden, stride=stride, groups=hidden)
        self.squeeze_excite = SqueezeExcite(hidden, hidden // 8) if squeeze_excite else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class GlyphNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(ConvNormReLU(3, 24), ConvNormReLU(24, 48, stride=2))
        self.blocks = nn.Sequential(
            InvertedResidual(48, 96, 48),
            InvertedResidual(48, 144, 64, stride=2),
            InvertedResidual(64, 192, 64, squeeze_excite=True),
            InvertedResidual(64, 192, 64, squeeze_excite=True),
            InvertedResidual(64, 192, 96, stride=2),
            InvertedResidual(96, 192, 96, squeeze_excite=True),
        )
        self.head = nn.Sequential(ConvNormReLU(96, 192, kernel=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(192, classes)

    def forward(self, image):
        return self.classifier(self.head(self.blocks(self.stem(image))))
