import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { quantize, readModel, type QuantizeResult } from '../../src/index.js';
import { isComputeOperator, isDequantize } from '../../src/runtime/kernels.js';
import { allNodes } from '../../src/graph/traversal.js';
import { checkerProblems, noOnnxChecker } from '../helpers/onnx-checker.js';
import { noSharedModels, sharedModels } from '../helpers/shared-models.js';
import { QUANTIZE } from './interface.js';
import { assertShape } from './shape.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-shared-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Samples that are enough for each model, so that the slow ones do not take all the time; 16 for others. */
const SAMPLES: Readonly<Record<string, number>> = { 'magika-v3_3': 4, 'superres-subpixel': 1, 'ultraface-slim320-raw': 4, 'ppocr-v2-cls': 8 };

/** Simulated, so that it is the same on every machine. */
const LEAST_SQNR_DB = 15;

const withInputs = sharedModels().filter(({ path }) => existsSync(join(dirname(path), 'inputs')));
const nameOf = (path: string) => dirname(path).split('/').at(-1)!;

async function isFloat(path: string): Promise<boolean> {
  return ![...allNodes((await readModel(path)).graph)].some(isDequantize);
}

function assertGood(result: QuantizeResult): void {
  const { integer, nodes, check, output } = result;
  assertShape(result, QUANTIZE);
  assert.ok(output !== null && integer !== null && check !== null);
  assert.equal(integer.danglingQdqNodes, 0);
  assert.ok(integer.integerNodes > 0);
  for (const node of integer.nodes) assert.equal(node.reason === null, node.runsAs === 'integer', `${node.name}: ${node.runsAs}, ${node.reason}`);
  const planned = nodes.filter(({ decision, opType }) => decision !== 'float' && isComputeOperator(opType)).map(({ name }) => name);
  assert.equal(integer.integerNodes, planned.length, 'what was planned runs on integers, and nothing else');
  for (const { name, decision, reason } of nodes) if (decision === 'float') assert.ok(reason, name);
  for (const [name, sqnrDb] of Object.entries(check.simulatedSqnrDb)) assert.ok(sqnrDb! >= LEAST_SQNR_DB, `${name}: ${sqnrDb} dB`);
  assert.ok(check.sizeRatio < 0.6, `${check.sizeRatio} of its size`);
}

describe('quantize without a search', { skip: noSharedModels }, () => {
  for (const { path } of withInputs) {
    test(nameOf(path), async (t) => {
      if (!(await isFloat(path))) return t.skip('is quantized already');
      const output = join(folder, `${nameOf(path)}.onnx`);
      const options = { model: path, data: [join(dirname(path), 'inputs')], limit: SAMPLES[nameOf(path)] ?? 16 };
      assertGood(await quantize({ ...options, output, threads: 1, effort: 'none' }));
    });
  }
});

describe('quantize raises an operator set that is too old', { skip: noSharedModels }, () => {
  const old = withInputs.find(({ path }) => nameOf(path) === 'mnist-cntk-opset8');
  test('a model of operator set 8', { skip: old ? false : 'no mnist-cntk-opset8 among the shared models' }, async () => {
    const { path } = old!;
    assert.equal((await readModel(path)).opsets.get(''), 8);
    const { changes, warnings, output } = await quantize({ model: path, data: [join(dirname(path), 'inputs')], limit: 2, output: join(folder, 'raised.onnx'), effort: 'none' });
    const { opsets, graph } = await readModel(output!.path);
    assert.ok(opsets.get('')! >= 12);
    assert.ok(changes.some(({ pass }) => pass === 'upgrade-opset') && changes.some(({ pass }) => pass === 'close-initializers'));
    assert.ok(!graph.inputs.some(({ name }) => graph.initializers.has(name)));
    assert.ok(!warnings.some(({ code }) => code === 'upgrade-unchecked'));
  });
});

test('what was quantized here is valid for onnx.checker', { skip: noSharedModels || noOnnxChecker }, () => {
  const written = readdirSync(folder).filter((name) => name.endsWith('.onnx'));
  assert.ok(written.length > 5);
  assert.deepEqual(checkerProblems(written.map((name) => join(folder, name))), {});
});
