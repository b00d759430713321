import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { listArrays, readArray } from '../src/data/array-file.js';
import { withFile } from '../src/data/open-file.js';
import { checkGraph } from '../src/graph/check-graph.js';
import type { Model } from '../src/graph/model.js';
import { readModel } from '../src/onnx/read-model.js';
import { prepareModel } from '../src/prepare-model.js';
import { RuntimeHost } from '../src/runtime/host.js';
import { openStaged, stageModel } from '../src/runtime/staged-model.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { printModel } from './helpers/graph-text.js';
import { assertSameOutputs, feedsFor } from './helpers/same-outputs.js';
import { noSharedModels, sampleModels, sharedModels } from './helpers/shared-models.js';

/** The first sample beside a model file, or random values where there is none of arrays. */
async function sampleFor(path: string, model: Model): Promise<Map<string, Tensor>> {
  for (const folder of ['inputs', 'test'].map((name) => join(dirname(path), name)).filter(existsSync)) {
    const file = readdirSync(folder).sort().find((name) => name.endsWith('.npz'));
    if (file === undefined) continue;
    return withFile(join(folder, file), async (open) => {
      const tensors = new Map<string, Tensor>();
      for (const entry of await listArrays(open, [])) tensors.set(entry.name, await readArray(open, entry));
      return tensors;
    });
  }
  return feedsFor(model);
}

async function run(host: RuntimeHost, model: Model, folder: string, feeds: ReadonlyMap<string, Tensor>): Promise<Map<string, Tensor>> {
  const staged = await stageModel(host, model, 'model.onnx', folder);
  const session = await openStaged(staged, { threads: 1, optimization: 'disabled' });
  const outputs = await session.run(feeds, model.graph.outputs.map((output) => output.name));
  await session.release();
  return outputs;
}

describe('prepareModel: valid graphs, the same outputs, nothing left to do the second time', () => {
  const shared = sharedModels().filter(({ name }) => !name.startsWith('onnx-node-tests'));
  for (const { name, path } of [...sampleModels(), ...shared]) {
    test(name, async (t) => {
      const host = new RuntimeHost();
      t.after(() => host.close());
      const folder = dirname(path);
      const model = await readModel(path);
      const prepared = await prepareModel(host, model, folder);
      assert.deepEqual(checkGraph(prepared.model.graph), []);
      const again = await prepareModel(host, prepared.model, folder);
      assert.equal(printModel(again.model), printModel(prepared.model));
      assert.equal(again.upgraded, undefined);
      const feeds = await sampleFor(path, model);
      assertSameOutputs(await run(host, prepared.model, folder, feeds), await run(host, model, folder, feeds), 1e-4);
      if (prepared.upgraded) {
        assert.deepEqual(checkGraph(prepared.upgraded.graph), []);
        assertSameOutputs(await run(host, prepared.upgraded, folder, feeds), await run(host, model, folder, feeds));
      }
      for (const { outputs } of prepared.model.graph.nodes) {
        for (const value of outputs.filter(Boolean)) assert.ok(prepared.types.has(value), `the type of ${value} is known`);
      }
    });
  }

  test('the shared models', { skip: noSharedModels }, () => assert.ok(shared.length > 0));
});
