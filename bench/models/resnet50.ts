import type { Model } from '../../src/graph/model.js';
import { Network, type Activation } from './network.js';

/** Inner channels, repetitions and first stride of each group of blocks (K. He et al., Deep Residual Learning, 2015, table 1). */
const GROUPS = [
  [64, 3, 1],
  [128, 4, 2],
  [256, 6, 2],
  [512, 3, 2],
] as const;

/** ResNet50 (stride in the 3 × 3 convolution) with random weights, as torchvision's is exported. */
export function resNet50(size = 224): Model {
  const network = new Network(size);
  let x = network.relu(network.convolution(network.input, { channels: 64, kernel: 7, stride: 2 }));
  x = network.maxPool(x, 3, 2);
  for (const [channels, repetitions, firstStride] of GROUPS) {
    for (let i = 0; i < repetitions; i++) x = block(network, x, channels, i === 0 ? firstStride : 1, i === 0);
  }
  return network.classify(x, 1000);
}

function block(network: Network, from: Activation, inner: number, stride: number, project: boolean): Activation {
  let x = network.relu(network.convolution(from, { channels: inner, kernel: 1 }));
  x = network.relu(network.convolution(x, { channels: inner, kernel: 3, stride }));
  x = network.convolution(x, { channels: inner * 4, kernel: 1 });
  const shortcut = project ? network.convolution(from, { channels: inner * 4, kernel: 1, stride }) : from;
  return network.relu(network.add(x, shortcut));
}
