import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { arch } from 'node:os';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect, type InspectResult } from '../../src/index.js';

/**
 * The first layers of the sample models as onnxruntime.quantization makes them: static with its defaults (s8 × s8, one scale a tensor), static
 * with u8 × s8 per channel, the same in QOperator format, dynamic. `bench/peers/quantized_slices.py` made them, and counted in Python what
 * the runtime fuses, without qdq.
 */
const folder = fileURLToPath(new URL('../../../test/fixtures/quantized/', import.meta.url));

interface Counts {
  readonly integer: Readonly<Record<string, number>>;
  readonly float: Readonly<Record<string, number>>;
  readonly left: number;
  readonly dangling: number;
  readonly weights: number;
}

const counts = (JSON.parse(readFileSync(`${folder}counts.json`, 'utf8')) as { readonly models: Readonly<Record<string, Counts>> }).models;

/** Scalars and zero points may be merged or repeated on loading; no weight is that small. */
const FEW_BYTES = 64;

async function integerOf(name: string): Promise<NonNullable<InspectResult['integer']>> {
  return (await inspect({ model: `${folder}${name}.onnx` })).integer!;
}

const sum = (numbers: Readonly<Record<string, number>>) => Object.values(numbers).reduce((total, number) => total + number, 0);

function kernelsOf(report: NonNullable<InspectResult['integer']>, runsAs: string): Record<string, number> {
  const kernels: Record<string, number> = {};
  for (const node of report.nodes) if (node.runsAs === runsAs) kernels[node.kernel!] = (kernels[node.kernel!] ?? 0) + 1;
  return kernels;
}

// The figures are of x64: on ARM64 s8 × s8 fuses too.
describe('models that the reference tool quantized are shown for what they are', { skip: arch() !== 'x64' }, () => {
  for (const [name, counted] of Object.entries(counts)) {
    test(`${name}: as counted without qdq`, async () => {
      const report = await integerOf(name);
      assert.deepEqual(kernelsOf(report, 'integer'), counted.integer);
      assert.deepEqual(kernelsOf(report, 'float'), counted.float);
      assert.deepEqual([report.integerNodes, report.computeNodes], [sum(counted.integer), sum(counted.integer) + sum(counted.float)]);
      assert.equal(report.danglingQdqNodes, counted.dangling);
      assert.ok(Math.abs(report.weightBytes.residentInteger! - counted.weights) <= FEW_BYTES, `${report.weightBytes.residentInteger} bytes`);
      for (const node of report.nodes) assert.equal(node.reason === null, node.runsAs === 'integer', node.name);
    });
  }

  const reasonsOf = async (name: string) => (await integerOf(name)).nodes.flatMap(({ name: node, reason }) => (reason === null ? [] : [`${node.split('/').slice(-2).join('/')}: ${reason}`]));
  const signed = (value: string, readers: number) => `"${value}" is s8 and has ${readers} readers: on x64 onnxruntime fuses s8 activations that have one reader; u8 fuses everywhere`;

  test('glyphs-default: the residual keeps two convolutions in float', async () => {
    const value = '/stem/stem.1/stem.1.2/Relu_output_0';
    assert.deepEqual(await reasonsOf('glyphs-default'), [`stem.1.0/Conv: ${signed(value, 2)}`, `expand.0/Conv: ${signed(value, 2)}`]);
  });

  test('tokens-default: what query, key and value read keeps them in float', async () => {
    const value = '/embeddings/norm/LayerNormalization_output_0';
    assert.deepEqual(await reasonsOf('tokens-default'), ['key', 'query', 'value'].map((part) => `${part}/MatMul: ${signed(value, 5)}`));
  });

  test('tokens-dynamic: products of activations stay float', async () => {
    const reason = 'neither of its inputs is quantized';
    assert.deepEqual(await reasonsOf('tokens-dynamic'), [`attention/MatMul: ${reason}`, `attention/MatMul_1: ${reason}`]);
  });

  test('types of weights', async () => {
    const weightsOf = async (name: string) => [...new Set((await integerOf(name)).nodes.map(({ weights }) => weights))];
    assert.deepEqual(await weightsOf('glyphs-default'), ['s8 per tensor']);
    assert.deepEqual(await weightsOf('glyphs-u8s8'), ['s8 per channel']);
    assert.deepEqual(await weightsOf('glyphs-qoperator'), ['s8 per channel']);
    assert.deepEqual(await weightsOf('glyphs-dynamic'), ['u8 per tensor']);
    assert.deepEqual(await weightsOf('tokens-dynamic'), ['s8 per tensor', null]);
  });
});
