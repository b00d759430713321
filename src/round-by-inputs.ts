import type { DataSpec } from './data/data-spec.js';
import { inputProductsTask, type ProductInput } from './evaluation/input-products.js';
import { QdqError } from './errors.js';
import type { Model } from './graph/model.js';
import type { ProgressListener } from './progress.js';
import type { BlockFormat } from './quantization/weight-only-format.js';
import { roundWithProducts, type RoundedWeight } from './quantization/weight-only-gptq.js';
import { matrixShape } from './quantization/weight-only-blocks.js';
import type { WeightOnlyChoice, WeightOnlyNode } from './quantization/weight-only-select.js';
import type { RuntimeHost } from './runtime/host.js';
import { stageModel } from './runtime/staged-model.js';
import type { Tensor } from './tensor/tensor.js';

/** Products of inputs that are in memory at once: of more, several passes over the samples are made. */
const MAX_PRODUCT_BYTES = 256 * 2 ** 20;

/** Samples to round by. */
export interface RoundingSamples {
  readonly data: DataSpec;
  readonly only: readonly string[];
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * Rounds the weights of a model's products by the inputs that samples give them; what readers of one weight see is added up. Nodes in bodies, whose
 * inputs cannot be seen from outside, and lookups are left out. The result answers for a choice and the format it was made for.
 */
export async function roundByInputs(
  host: RuntimeHost,
  model: Model,
  folder: string,
  choices: readonly WeightOnlyChoice[],
  format: BlockFormat,
  { data, only, onProgress }: RoundingSamples,
): Promise<(choice: WeightOnlyNode) => RoundedWeight | undefined> {
  const products = choices.flatMap((choice) => (choice.form === 'product' && !choice.scope.parent ? [choice] : []));
  const groups = new Map<string, WeightOnlyNode[]>();
  for (const choice of products) groups.set(keyOf(choice), [...(groups.get(keyOf(choice)) ?? []), choice]);
  const staged = await stageModel(host, model, 'inputs.onnx', folder);
  const rounded = new Map<string, RoundedWeight>();
  const total = [...groups.values()].reduce((count, [first]) => count + channelsOf(first!), 0);
  let done = 0;
  for (const batch of batches([...groups.values()])) {
    const values = new Map(batch.flat().map((choice): [string, ProductInput] => [choice.node.inputs[0]!, { name: choice.node.inputs[0]!, depth: depthOf(choice) }]));
    const sums = await host.run(inputProductsTask, { model: staged, values: [...values.values()], data, only });
    for (const readers of batch) {
      const [first] = readers;
      const seen = [...new Set(readers.map(({ node }) => node.inputs[0]!))].flatMap((name) => sums.get(name) ?? []);
      if (seen.length === 0) continue;
      const sum = new Float64Array(depthOf(first!) ** 2);
      for (const products of seen) products.forEach((value, i) => (sum[i]! += value));
      const before = done;
      const onChannels = (channels: number) => onProgress?.({ stage: 'rounding weights', done: before + channels, total, unit: 'channels' });
      rounded.set(keyOf(first!), await roundWithProducts(matrixOf(first!), format, sum, () => notFinite(first!), onChannels));
      done += channelsOf(first!);
    }
  }
  return (choice) => (choice.form === 'product' && !choice.scope.parent ? rounded.get(keyOf(choice)) : undefined);
}

const matrixOf = ({ weight: { tensor }, depthAxis }: WeightOnlyNode): { tensor: Tensor; depthAxis: 0 | 1 } => ({ tensor, depthAxis });
const depthOf = (choice: WeightOnlyNode) => matrixShape(matrixOf(choice)).depth;
const channelsOf = (choice: WeightOnlyNode) => matrixShape(matrixOf(choice)).channels;
const keyOf = ({ weight, depthAxis }: WeightOnlyNode) => `${depthAxis}/${weight.name}`;

/** Groups in order, as many at a time as their products may take memory. */
function* batches(groups: readonly WeightOnlyNode[][]): Generator<WeightOnlyNode[][]> {
  let batch: WeightOnlyNode[][] = [];
  let bytes = 0;
  for (const group of groups) {
    const more = group.length * depthOf(group[0]!) ** 2 * Float64Array.BYTES_PER_ELEMENT;
    if (batch.length > 0 && bytes + more > MAX_PRODUCT_BYTES) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(group);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}

function notFinite({ weight, node }: WeightOnlyNode): QdqError {
  return new QdqError('model-invalid', `the weight "${weight.name}" contains NaN or infinity`, `Leave its node in float: --exclude "${node.name}".`);
}
