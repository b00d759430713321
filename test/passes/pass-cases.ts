import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import type { Model } from '../../src/graph/model.js';
import type { PassResult } from '../../src/passes/pass.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { assertSameOutputs, feedsFor, outputsOf } from '../helpers/same-outputs.js';

/** A model before a pass and after it, in the notation of `helpers/graph-text.ts`. */
export interface PassCase {
  readonly name: string;
  readonly before: string;
  /** Absent where the pass must leave the model alone. */
  readonly after?: string;
  /** What the pass says it did, each change as its names and its message. */
  readonly says?: readonly string[];
  /** Largest difference of the outputs in onnxruntime, relative to their magnitude; 0 by default, which means equal bits. */
  readonly tolerance?: number;
  /** False where onnxruntime cannot run the model, which has an operator of a made-up domain or is otherwise beyond it. */
  readonly runs?: false;
}

/**
 * One test a case: the graph after the pass is as written and valid, survives the codec, computes the same in onnxruntime; the
 * model given is not changed; a second run finds nothing left to do.
 */
export function testPass(pass: (model: Model) => PassResult | Promise<PassResult>, cases: readonly PassCase[]): void {
  for (const { name, before, after, says, tolerance = 0, runs = true } of cases) {
    test(name, async () => {
      const model = parseModel(before);
      assert.deepEqual(checkGraph(model.graph), [], 'the case itself is invalid');
      const shown = printModel(model);
      const { model: result, changes } = await pass(model);
      assert.equal(printModel(model), shown, 'the model given was changed');
      assert.equal(printModel(result), after === undefined ? shown : printModel(parseModel(after)));
      assert.deepEqual(checkGraph(result.graph), []);
      if (says) assert.deepEqual(changes.map((change) => `${change.names.join(', ')}: ${change.message}`), says);
      if (after === undefined) {
        assert.equal(result, model, 'without changes the model comes back itself');
        if (!says) assert.deepEqual(changes, []);
      } else {
        assert.ok(changes.length > 0, 'a change is reported');
        const again = await pass(result);
        assert.equal(printModel(again.model), printModel(result), 'the second run changed something');
        assert.equal(again.model, result);
      }
      assert.equal(printModel(decodeModel(encodeModel(result))), printModel({ ...result, producer: 'test' }));
      if (runs && result !== model) {
        const feeds = feedsFor(model);
        assertSameOutputs(await outputsOf(result, feeds), await outputsOf(model, feeds), tolerance);
      }
    });
  }
}
