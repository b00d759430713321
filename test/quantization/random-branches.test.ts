import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { quantize } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { closeBodies } from '../../src/passes/close-bodies.js';
import { openBodies } from '../../src/passes/open-bodies.js';
import { isComputeNode, isComputeOperator } from '../../src/runtime/kernels.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise, writeSample } from '../cli/tiny-model.js';
import { parseModel } from '../helpers/graph-text.js';
import { outputsOf } from '../helpers/same-outputs.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { Dice } from './random-graph.js';

const CONDITIONS = ['c0', 'c1', 'c2'] as const;
const TYPE = 'float32[1,16,32]';

/** A network with branches in branches, and loops among them, which read whatever was made around them; nodes of sibling branches have equal names. */
function randomText(seed: number, hasLoops = false): string {
  const dice = new Dice(seed);
  let count = 0;
  const body = (around: readonly string[], depth: number, indent: string): { lines: string[]; values: string[] } => {
    const lines: string[] = [];
    const values = [...around];
    for (let i = 0, steps = 2 + dice.roll(4); i < steps; i++) {
      const x = dice.roll(3) === 0 ? dice.pick(values) : values.at(-1)!;
      const y = `v${count++}`;
      const kind = dice.roll(depth < 3 ? 8 : 6);
      if (kind < 3) lines.push(`${indent}const ${y}_w float32[16,16,3] ~${count}`, `${indent}conv${i}: ${y} = Conv(${x}, ${y}_w) pads=[1,1]`);
      else if (kind === 3) lines.push(`${indent}${y} = Relu(${x})`);
      else if (kind === 4) lines.push(`${indent}${y} = Add(${x}, ${dice.pick(values)})`);
      else if (kind === 5) lines.push(`${indent}${y} = Sigmoid(${x})`);
      else if (hasLoops && dice.roll(2) === 0) {
        const inside = body([...values, `${y}_state`], depth + 1, `${indent}    `);
        lines.push(
          ...[`${indent}loop${i}: ${y} = Loop(${dice.pick(['once', 'thrice', 'never'])}, , ${x})`, `${indent}  body:`],
          ...[`input ${y}_i int64[]`, `input ${y}_go bool[]`, `input ${y}_state ${TYPE}`, `${y}_more = Identity(${y}_go)`].map((line) => `${indent}    ${line}`),
          ...inside.lines,
          // Without growing smaller, a state that is rounded soon is another one.
          ...[`${y}_small = Mul(${inside.values.at(-1)!}, tenth)`, `${y}_next = Tanh(${y}_small)`, `output ${y}_more bool[]`, `output ${y}_next ${TYPE}`].map((line) => `${indent}    ${line}`),
        );
      } else {
        lines.push(`${indent}${y} = If(${dice.pick(CONDITIONS)})`);
        for (const branch of ['then', 'else']) {
          const inside = body(values, depth + 1, `${indent}    `);
          lines.push(`${indent}  ${branch}_branch:`, ...inside.lines, `${indent}    output ${inside.values.at(-1)!} ${TYPE}`);
        }
      }
      values.push(y);
    }
    return { lines, values };
  };
  const { lines, values } = body(['x'], 0, '');
  return ['ir 8', 'opset 13', `input x ${TYPE}`, ...CONDITIONS.map((name) => `input ${name} bool[]`), ...(hasLoops ? ['const once int64[] 1', 'const thrice int64[] 3', 'const never int64[] 0', 'const tenth float32[] 0.1'] : []), 'const last_w float32[16,16,3] ~99', ...lines, `last: y = Conv(${values.at(-1)!}, last_w) pads=[1,1]`, `output y ${TYPE}`].join('\n');
}

const feeds = (i: number) => ({ x: noise([1, 16, 32], i), ...Object.fromEntries(CONDITIONS.map((name, bit) => [name, tensorFromArray('bool', [], Uint8Array.of((i >> bit) & 1))])) });

test('random branches and loops compute the same after they were opened and closed', async () => {
  let opened = 0;
  for (let seed = 1; seed <= 24; seed++) {
    const model = parseModel(randomText(seed, seed > 12));
    const open = openBodies(model, isComputeNode);
    opened += open.openBodies?.opened.size ?? 0;
    const closed = closeBodies(open);
    assert.deepEqual(checkGraph(closed.graph), [], `seed ${seed}`);
    for (let i = 0; i < 8; i++) {
      const values = async (each: typeof model) => [...numbersOf((await outputsOf(each, new Map(Object.entries(feeds(i))))).get('y')!)];
      assert.deepEqual(await values(closed), await values(model), `seed ${seed}, sample ${i}`);
    }
  }
  assert.ok(opened > 10, String(opened));
});

for (const [seed, hasLoops] of [[2, false], [5, false], [7, false], [13, true], [18, true], [21, true]] as const) {
  test(`random branches${hasLoops ? ' and loops' : ''} run as planned, seed ${seed}`, async (t) => {
    const folder = temporaryFolder(t);
    const [model, data] = [join(folder, 'm.onnx'), join(folder, 'data')];
    writeFileSync(model, encodeModel(parseModel(randomText(seed, hasLoops))));
    mkdirSync(data);
    for (let i = 0; i < 64; i++) writeSample(join(data, `${String(i).padStart(2, '0')}.npz`), feeds(i));
    const common = { model, target: 'ort-x64', threads: 1 } as const;
    const result = await quantize({ ...common, data: [data], effort: 'none', output: join(folder, 'q.onnx'), planOut: join(folder, 'p.json') });
    const { integer, nodes, check } = result;
    assert.equal(integer!.danglingQdqNodes, 0);
    const planned = nodes.filter(({ opType, decision }) => isComputeOperator(opType) && decision === 'quantized').map(({ name }) => name);
    assert.deepEqual(integer!.nodes.filter(({ runsAs }) => runsAs === 'integer').map(({ name }) => name).sort(), planned.sort());
    assert.ok(check!.sqnrDb['y']! > 20, String(check!.sqnrDb['y']));
    const again = await quantize({ model, plan: join(folder, 'p.json'), output: join(folder, 'again.onnx'), verify: false });
    assert.equal(again.output!.sha256, result.output!.sha256);
  });
}
