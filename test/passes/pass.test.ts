import assert from 'node:assert/strict';
import { test } from 'node:test';
import { passResult, runPasses, type Pass } from '../../src/passes/pass.js';
import { parseModel } from '../helpers/graph-text.js';

const MODEL = parseModel('ir 3\nopset 8\ninput x float32[1]\ny = Neg(x)\noutput y');
const renames = (name: string): Pass => (model) => passResult(model, { ...model.graph, name }, [{ pass: name, names: [], message: `${model.graph.name} → ${name}` }]);

test('runPasses hands each pass what the one before made, and joins the changes', () => {
  const { model, changes } = runPasses(MODEL, [renames('a'), (same) => ({ model: same, changes: [] }), renames('b')]);
  assert.equal(model.graph.name, 'b');
  assert.deepEqual(changes.map((change) => change.message), ['main → a', 'a → b']);
  assert.deepEqual(runPasses(MODEL, []), { model: MODEL, changes: [] });
});

test('passResult: the model itself for the same graph; IR version 4 where constants need not be inputs', () => {
  assert.equal(passResult(MODEL, MODEL.graph, []).model, MODEL);
  assert.equal(passResult(MODEL, { ...MODEL.graph }, []).model.irVersion, 3);
  const { graph } = parseModel('input x float32[1]\nconst w float32[1] 1\ny = Add(x, w)\noutput y');
  assert.equal(passResult(MODEL, graph, []).model.irVersion, 4);
  assert.equal(passResult({ ...MODEL, irVersion: 9 }, graph, []).model.irVersion, 9);
});
