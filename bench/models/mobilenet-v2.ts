import type { Model } from '../../src/graph/model.js';
import { Network, type Activation } from './network.js';

/** Expansion, channels, repetitions and first stride of each group of blocks (M. Sandler et al., MobileNetV2, 2018, table 2). */
const GROUPS = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

/** MobileNetV2 with random weights, as torchvision's is exported. */
export function mobileNetV2(size = 224): Model {
  const network = new Network(size);
  let x = network.relu6(network.convolution(network.input, { channels: 32, kernel: 3, stride: 2 }));
  for (const [expansion, channels, repetitions, firstStride] of GROUPS) {
    for (let i = 0; i < repetitions; i++) x = block(network, x, expansion, channels, i === 0 ? firstStride : 1);
  }
  return network.classify(network.relu6(network.convolution(x, { channels: 1280, kernel: 1 })), 1000);
}

function block(network: Network, from: Activation, expansion: number, channels: number, stride: number): Activation {
  const wide = from.channels * expansion;
  let x = expansion === 1 ? from : network.relu6(network.convolution(from, { channels: wide, kernel: 1 }));
  x = network.relu6(network.convolution(x, { channels: wide, kernel: 3, stride, groups: wide }));
  x = network.convolution(x, { channels, kernel: 1 });
  return stride === 1 && from.channels === channels ? network.add(from, x) : x;
}
