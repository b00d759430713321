import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeModel } from '../../src/onnx/write-model.js';
import { Dice } from '../fuzz/mutate.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { runCli, startCli } from './run-cli.js';
import { noise, writeSample } from './tiny-model.js';

/** Kills in all; `make soak` takes more. */
const KILLS = Number(process.env['QDQ_KILLS'] ?? 20);

/** What a command left of its output: model file and side file, where they are. */
type Output = readonly (Buffer | undefined)[];

/** Takes a moment: a process inside the runtime learns of its parent's end only afterwards. */
const LAST_BREATH_MS = 300;

/** It keeps a constant in float, which stays in a side file where the model has one. */
const MODEL = parseModel('input x float32[4,64]\nconst v float32[64,64] ~1\nconst w float32[64,64] ~2\nconst k float32[8,4,64] ~3\nh = MatMul(x, v)\nr = Relu(h)\nm = MatMul(r, w)\ny = Sub(m, k)\noutput y float32[8,4,64]');

const COMMAND = ['quantize', 'model.onnx', '--data', 'data', '-o', 'out/int8.onnx', '--threads', '1', '--effort', 'none', '--quiet'];

async function workplace(t: TestContext, externalData: 'always' | 'never'): Promise<{ cwd: string; scratch: string; env: Record<string, string> }> {
  const cwd = temporaryFolder(t);
  const scratch = join(cwd, 'scratch');
  for (const name of ['scratch', 'data', 'out']) mkdirSync(join(cwd, name));
  await writeModel(join(cwd, 'model.onnx'), MODEL, { externalData });
  for (const i of [1, 2]) writeSample(join(cwd, 'data', `${i}.npz`), { x: noise([4, 64], i) });
  return { cwd, scratch, env: { TMPDIR: scratch } };
}

const outputIn = (cwd: string): Output =>
  ['int8.onnx', 'int8.onnx.data'].map((name) => join(cwd, 'out', name)).map((path) => (existsSync(path) ? readFileSync(path) : undefined));

for (const externalData of ['never', 'always'] as const) {
  describe(`killed at any moment, weights in a side file: ${externalData}`, () => {
    test('the output is absent or complete, and the same command again gives the same bytes and leaves nothing else', async (t) => {
      const { cwd, scratch, env } = await workplace(t, externalData);
      const start = performance.now();
      assert.equal((await runCli(COMMAND, { cwd, env })).code, 0);
      const durationMs = performance.now() - start;
      const complete = outputIn(cwd);
      assert.ok(complete[0] && (complete[1] !== undefined) === (externalData === 'always'));
      const files = [readdirSync(join(cwd, 'out')), readdirSync(cwd)];
      const dice = new Dice(KILLS);
      let killed = 0;
      for (let i = 0; i < KILLS / 2; i++) {
        const { child, result } = startCli(COMMAND, { cwd, env });
        await sleep(dice.below(Math.ceil(durationMs)));
        child.kill('SIGKILL');
        if ((await result).code === 'SIGKILL') killed++;
        const left = outputIn(cwd);
        if (left[0] !== undefined) assert.deepEqual(left, complete, `kill ${i}`);
      }
      assert.ok(killed >= KILLS / 10, `only ${killed} of ${KILLS / 2} were killed before they ended`);
      await sleep(LAST_BREATH_MS);
      assert.equal((await runCli(COMMAND, { cwd, env })).code, 0);
      assert.deepEqual(outputIn(cwd), complete);
      assert.deepEqual([readdirSync(join(cwd, 'out')), readdirSync(cwd), readdirSync(scratch)], [...files, []]);
    });
  });
}

test('two runs at once do not disturb each other, and a killed one beside them neither', async (t) => {
  const { cwd, scratch, env } = await workplace(t, 'always');
  const doomed = startCli(COMMAND, { cwd, env });
  const [first, second] = await Promise.all([runCli(COMMAND, { cwd, env }), runCli(COMMAND, { cwd, env }), sleep(200).then(() => doomed.child.kill('SIGKILL'))]);
  assert.deepEqual([first.code, second.code], [0, 0], first.stderr + second.stderr);
  await doomed.result;
  await sleep(LAST_BREATH_MS);
  const together = outputIn(cwd);
  assert.equal((await runCli(COMMAND, { cwd, env })).code, 0);
  assert.deepEqual(outputIn(cwd), together);
  assert.deepEqual(readdirSync(scratch), []);
});
