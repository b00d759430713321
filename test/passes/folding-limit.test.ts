import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { foldConstants, foldingLimit } from '../../src/passes/fold-constants.js';
import { prune } from '../../src/passes/prune.js';
import { parseModel } from '../helpers/graph-text.js';
import { assertSameOutputs, evaluateHere, outputsOf } from '../helpers/same-outputs.js';

describe('by folding, constants grow by a quarter at most', () => {
  // Tables of 64, 128 and 256 KB from a few numbers, beside a weight of 512 KB that is doubled where it is cast.
  const text = (body: string) => `
    input x float32[1,256]
    const n64 int64[2] 16 1024
    const n128 int64[2] 32 1024
    const n256 int64[2] 64 1024
    const one float32[1] 1
    const w float16[256,1024] ~1
    ${body}`;
  const tables = `
    a = Expand(one, n64)
    b = Expand(one, n128)
    c = Expand(one, n256)
    f = Cast(w) to=1
    p = MatMul(x, f)
    q = Add(p, a)
    r = Add(p, b)
    s = Add(p, c)
    output q
    output r
    output s`;

  test('the largest of those that are more than what they are made from stay computed', async () => {
    const model = parseModel(text(tables));
    const folded = await foldConstants(model, evaluateHere);
    const { model: pruned } = prune(folded.model);
    assert.deepEqual([...pruned.graph.initializers.keys()].filter((name) => 'abcf'.includes(name)).sort(), ['a', 'f']);
    assert.deepEqual(pruned.graph.nodes.map(({ opType }) => opType), ['Expand', 'Expand', 'MatMul', 'Add', 'Add', 'Add']);
    assert.equal(folded.changes[0]!.names.length, 2);
    assertSameOutputs(await outputsOf(pruned), await outputsOf(model), 0);
  });

  test('folding again with the first limit adds nothing', async () => {
    const model = parseModel(text(tables));
    const limit = foldingLimit(model);
    const { model: once } = await foldConstants(model, evaluateHere, new Set(), limit);
    const again = await foldConstants(once, evaluateHere, new Set(), limit);
    assert.deepEqual(again.changes, []);
    assert.notDeepEqual((await foldConstants(once, evaluateHere)).changes, []);
  });

  test('bodies share the limit with the graph around them', async () => {
    const model = parseModel(
      text(`
    const t bool[] 1
    a = Expand(one, n64)
    p = MatMul(x, g)
    const g float32[256,1024] ~2
    s = Add(p, a)
    y = If(t)
      then_branch:
        b = Expand(one, n128)
        u = Add(s, b)
        d = Neg(one)
        v = Mul(u, d)
        output v
      else_branch:
        e = Identity(s)
        output e
    output y`).replace('const w float16[256,1024] ~1', 'const w float32[1] 1'),
    );
    const { changes } = await foldConstants(model, evaluateHere, new Set(), foldingLimit(model) - (1 << 17));
    assert.deepEqual(changes.flatMap(({ names }) => names).sort(), ['a', 'd']);
  });
});
