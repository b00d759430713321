/**
 * Where integers pay on this machine: float time over integer time of one kind of layer at a time, one thread. Evidence for
 * MIN_PRODUCT_DEPTH in src/quantization/select.ts and for what is slower in src/quantization/operator-rules.ts. Writes bench/results/kernels.md. On a quiet machine:
 *
 *   node dist/bench/kernels.js [--rounds 3]
 */
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { timeTask } from '../src/evaluation/time.js';
import { statsOf } from '../src/metrics/statistics.js';
import { encodeModel } from '../src/onnx/model-codec.js';
import { MIN_PRODUCT_DEPTH } from '../src/quantization/select.js';
import { heading, paragraph, type Block } from '../src/report/document.js';
import { figure } from '../src/report/format.js';
import { RuntimeHost } from '../src/runtime/host.js';
import { kernelCoverage } from '../src/runtime/kernel-coverage.js';
import { stagedFile } from '../src/runtime/staged-model.js';
import { channelwiseBetweenConvolutions, convolutionChain, products, softmaxBetweenProducts, type ConvolutionLayer, type LayerModels, type ProductLayer } from './lib/layers.js';
import { scratchFolder } from './lib/paths.js';
import { columns, contextFacts, writeResults } from './lib/results.js';

const CONVOLUTIONS: readonly ConvolutionLayer[] = [
  ...[[8, 48], [16, 48], [32, 28], [64, 28], [128, 14], [256, 14]].map(([channels, size]) => ({ kernel: 3, channels: channels!, size: size! })),
  ...[[8, 48], [16, 48], [64, 28], [256, 14], [512, 7]].map(([channels, size]) => ({ kernel: 1, channels: channels!, size: size! })),
  ...[[16, 48], [64, 28], [128, 28], [256, 14], [512, 7]].map(([channels, size]) => ({ kernel: 3, channels: channels!, size: size!, depthwise: true })),
  { kernel: 5, channels: 128, size: 14, depthwise: true },
];
const CHANNELWISE_SIZES = [[32, 56], [64, 56], [128, 28], [256, 14], [512, 7]] as const;
const SOFTMAX_SHAPES = [[12, 128, 128], [6, 196, 196], [64, 64], [16, 32]] as const;
const DEPTHS = [4, 8, 16, 32, 64, 128, 512] as const;
/** Rows × columns of a product, and how many stand side by side: tiny ones vanish in the cost of a run otherwise. */
const SHAPES = [
  [1024, 8, 6],
  [1024, 64, 6],
  [128, 64, 6],
  [128, 384, 6],
  [16, 64, 24],
  [1, 64, 96],
  [1, 512, 48],
] as const;
const PRODUCTS: Readonly<Record<string, Pick<ProductLayer, 'operator' | 'output'>>> = {
  'MatMul, float output': { operator: 'MatMul', output: 'float' },
  'MatMul, quantized output': { operator: 'MatMul', output: 'quantized' },
  'Gemm with bias, quantized output': { operator: 'Gemm', output: 'quantized' },
};

interface Timed {
  readonly floatUs: number;
  readonly integerUs: number;
  readonly ratio: number;
  /** Least and greatest ratio of the rounds. */
  readonly spread: readonly [number, number];
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '3' } } });
const rounds = Number(values.rounds);
const scratch = scratchFolder();
const host = new RuntimeHost();
try {
  writeResults('kernels', 'Where integers pay, and where they cost', await measureAll());
} finally {
  await host.close();
}

async function measureAll(): Promise<Block[]> {
  const blocks: Block[] = [
    contextFacts('not needed', [
      ['Models', 'equal layers in one model: convolutions one after another, with Relu and one Q/DQ pair at each end; products side by side, each with a matrix of its own'],
      ['Types', 'u8 activations, s8 weights per channel; all layers were seen in integer kernels in the graph that the runtime fused'],
      ['Time', `one thread; float, integer and an empty model by turns, up to 300 runs each in ${rounds} rounds; medians, less the median of the empty model, divided by the number of layers; the middle round`],
    ]),
    paragraph('Ratio: float time over integer time. Above 1 integers are faster.'),
    heading('Convolutions'),
    await convolutionTable(),
    heading('As depthwise convolutions'),
    paragraph('1 × 1 convolutions on integers with a 3 × 3 AveragePool, or a BatchNormalization and its Relu, after each: as QLinearAveragePool and as float BatchNormalization, and as depthwise QLinearConv; less the empty model, by those layers.'),
    await channelwiseTable(),
    heading('Softmax between products'),
    paragraph('Three integer products with a Softmax after the first and the second: Softmax in float, and on integers; less the empty model, by products.'),
    await softmaxTable(),
  ];
  const conclusions: string[] = [];
  for (const [name, kind] of Object.entries(PRODUCTS)) {
    const { block, conclusion } = await productTable(kind);
    blocks.push(heading(name), block);
    conclusions.push(`${name}: ${conclusion}`);
  }
  blocks.push(
    heading('From which K on'),
    { kind: 'list', items: conclusions },
    paragraph(`qdq leaves a MatMul or Gemm with K below ${MIN_PRODUCT_DEPTH} in float (MIN_PRODUCT_DEPTH in src/quantization/select.ts); from there on it is the shape that decides, which --effort normal measures.`),
  );
  return blocks;
}

async function convolutionTable(): Promise<Block> {
  const rows = [];
  for (const layer of CONVOLUTIONS) {
    const { kernel, channels, size, depthwise } = layer;
    const name = `${depthwise ? 'depthwise ' : ''}${kernel}×${kernel}, ${channels} channels, ${size}²`;
    const { floatUs, integerUs, ratio, spread } = await measure(name, convolutionChain(layer));
    rows.push([name, figure(floatUs), figure(integerUs), ratio.toFixed(2), spread.map((end) => end.toFixed(2)).join(' … ')]);
  }
  return { kind: 'table', columns: columns('Layer', '>float µs', '>int8 µs', '>Ratio', '>Of the rounds'), rows };
}

async function channelwiseTable(): Promise<Block> {
  const rows = [];
  for (const operator of ['AveragePool', 'BatchNormalization'] as const) {
    for (const [channels, size] of CHANNELWISE_SIZES) {
      const name = `${operator}, ${channels} channels, ${size}²`;
      const { floatUs, integerUs, ratio, spread } = await measure(name, channelwiseBetweenConvolutions({ operator, channels, size }));
      rows.push([name, figure(floatUs), figure(integerUs), ratio.toFixed(2), spread.map((end) => end.toFixed(2)).join(' … ')]);
    }
  }
  return { kind: 'table', columns: columns('Layer', '>own kernel µs', '>depthwise µs', '>Ratio', '>Of the rounds'), rows };
}

async function softmaxTable(): Promise<Block> {
  const rows = [];
  for (const shape of SOFTMAX_SHAPES) {
    const name = `Softmax, ${shape.join(' × ')}`;
    const { floatUs, integerUs, ratio, spread } = await measure(name, softmaxBetweenProducts(shape));
    rows.push([name, figure(floatUs), figure(integerUs), ratio.toFixed(2), spread.map((end) => end.toFixed(2)).join(' … ')]);
  }
  return { kind: 'table', columns: columns('Shape', '>float µs', '>int8 µs', '>Ratio', '>Of the rounds'), rows };
}

async function productTable(kind: Pick<ProductLayer, 'operator' | 'output'>): Promise<{ block: Block; conclusion: string }> {
  const means: number[] = [];
  const largeMeans: number[] = [];
  const rows = [];
  for (const depth of DEPTHS) {
    const ratios: number[] = [];
    for (const [rowCount, columnCount, count] of SHAPES) {
      const layer = { ...kind, rows: rowCount, depth, columns: columnCount, count };
      ratios.push((await measure(`${kind.operator} ${kind.output} ${rowCount}×${depth}×${columnCount}`, products(layer))).ratio);
    }
    means.push(geometricMean(ratios));
    largeMeans.push(geometricMean(ratios.filter((_, i) => isLarge(SHAPES[i]!))));
    rows.push([String(depth), ...ratios.map((ratio) => ratio.toFixed(2)), means.at(-1)!.toFixed(2), largeMeans.at(-1)!.toFixed(2)]);
  }
  return {
    block: { kind: 'table', columns: columns('>K', ...SHAPES.map(([m, n]) => `>${m} × ${n}`), '>Geometric mean', '>Of the large'), rows },
    conclusion: `integers pay on average ${fromWhere(means)}; in large products (128 rows and 64 columns or more) ${fromWhere(largeMeans)}`,
  };
}

function isLarge([rows, columnCount]: readonly [number, number, number]): boolean {
  return rows >= 128 && columnCount >= 64;
}

function geometricMean(ratios: readonly number[]): number {
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
}

function fromWhere(means: readonly number[]): string {
  const depth = DEPTHS.find((_, i) => means.slice(i).every((mean) => mean >= 1));
  return depth === undefined ? 'at no K up to 512' : `from K = ${depth} on`;
}

async function measure(name: string, models: LayerModels): Promise<Timed> {
  const staged = [models.float, models.integer, models.empty].map((model, i) => {
    const path = join(scratch, `layer${i}.onnx`);
    writeFileSync(path, encodeModel(model));
    return stagedFile(path);
  });
  const { report } = await kernelCoverage(host, staged[1]!);
  if (report.integerNodes !== (models.integerNodes ?? models.layers)) throw new Error(`${name}: ${report.integerNodes} of ${models.layers} layers run on integers`);
  const timed: Timed[] = [];
  for (let round = 0; round < rounds; round++) {
    const times = await host.run(timeTask, { models: staged, data: { paths: ['random:1'] }, runs: 300, warmup: 10, threads: 1, budgetMs: 1000 });
    const [float, integer, empty] = times.map((list) => statsOf(list)!.median);
    const floatUs = (1000 * (float! - empty!)) / models.layers;
    const integerUs = (1000 * (integer! - empty!)) / models.layers;
    timed.push({ floatUs, integerUs, ratio: floatUs / integerUs, spread: [0, 0] });
  }
  timed.sort((a, b) => a.ratio - b.ratio);
  const middle = timed[timed.length >> 1]!;
  console.error(`${name}: ${middle.ratio.toFixed(2)}`);
  return { ...middle, spread: [timed[0]!.ratio, timed.at(-1)!.ratio] };
}
