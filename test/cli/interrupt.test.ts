import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { startCli } from './run-cli.js';
import { writeTinyModel } from './tiny-model.js';

/** Gives samples without end, and says in a file in which process it does. */
const ENDLESS_READER = `
import { writeFileSync } from 'node:fs';
export default async function* () {
  for (let i = 0; ; i++) {
    if (i === 3) writeFileSync('started', String(process.pid));
    await new Promise((resolve) => setTimeout(resolve, 10));
    yield { image: new Float32Array(192) };
  }
}
`;

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  test(`${signal}: exit code ${code}, and nothing left behind`, async (t) => {
    const cwd = temporaryFolder(t);
    const model = writeTinyModel(cwd);
    writeFileSync(join(cwd, 'reader.mjs'), ENDLESS_READER);
    const scratch = join(cwd, 'scratch');
    mkdirSync(scratch);
    const started = join(cwd, 'started');
    const { child, result } = startCli(['calibrate', model, '--data', 'reader.mjs', '-o', 'table.json'], { cwd, env: { TMPDIR: scratch } });
    while (!existsSync(started) && child.exitCode === null) await sleep(20);
    child.kill(signal);
    assert.deepEqual(await result, { code, stdout: '', stderr: 'error: interrupted\n' });
    assert.deepEqual(readdirSync(cwd).sort(), ['reader.mjs', 'scratch', 'started', 'tiny.onnx']);
    assert.deepEqual(readdirSync(scratch), []);
    await assertEnded(Number(readFileSync(started, 'utf8')));
  });
}

/** A Loop without a trip count whose condition stays true: the runtime never comes back. */
const ENDLESS_LOOP = `
opset 13
input x float32[1,8]
const go bool[] 1
const w float32[8,8] ~1
y = Loop(, go, x)
  body:
    input i int64[]
    input c bool[]
    input s float32[1,8]
    c2 = Identity(c)
    t = MatMul(s, w)
    s2 = Tanh(t)
    output c2
    output s2
output y
`;

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  test(`${signal} while a model runs that never ends: exit code ${code}, and no process left`, async (t) => {
    const cwd = temporaryFolder(t);
    writeFileSync(join(cwd, 'endless.onnx'), encodeModel(parseModel(ENDLESS_LOOP)));
    writeFileSync(
      join(cwd, 'reader.mjs'),
      `import { writeFileSync } from 'node:fs';
      export default async function* () {
        writeFileSync('started', String(process.pid));
        yield { x: new Float32Array(8) };
      }`,
    );
    const started = join(cwd, 'started');
    const { child, result } = startCli(['run', 'endless.onnx', '--data', 'reader.mjs'], { cwd });
    while (!existsSync(started) && child.exitCode === null) await sleep(20);
    // Time to get into the loop, where the child process hears nothing.
    await sleep(300);
    assert.equal(child.exitCode, null, 'the model does not end');
    child.kill(signal);
    assert.deepEqual(await result, { code, stdout: '', stderr: 'error: interrupted\n' });
    await assertEnded(Number(readFileSync(started, 'utf8')));
  });
}

test('SIGINT with --json: the error is one object on stdout', async (t) => {
  const cwd = temporaryFolder(t);
  const model = writeTinyModel(cwd);
  writeFileSync(join(cwd, 'reader.mjs'), ENDLESS_READER);
  const { child, result } = startCli(['run', model, '--data', 'reader.mjs', '--json'], { cwd });
  while (!existsSync(join(cwd, 'started')) && child.exitCode === null) await sleep(20);
  child.kill('SIGINT');
  const { code, stdout } = await result;
  assert.equal(code, 130);
  assert.deepEqual(JSON.parse(stdout), { schema: 'qdq.error/1', error: { code: 'interrupted', message: 'interrupted', hint: null } });
});

/** Waits for a killed process to be gone, which takes the system a moment. */
async function assertEnded(pid: number): Promise<void> {
  assert.ok(pid > 0);
  for (let tries = 0; tries < 100; tries++) {
    if (!isAlive(pid)) return;
    await sleep(20);
  }
  assert.fail(`process ${pid} is still there`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A process that nobody has waited for yet is dead all the same.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
