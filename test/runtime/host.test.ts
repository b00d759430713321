import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { QdqError } from '../../src/errors.js';
import type { ProgressEvent, Warning } from '../../src/progress.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import type { Task } from '../../src/runtime/task.js';
import * as tasks from './host-tasks.js';

const host = new RuntimeHost();
after(() => host.close());

async function errorOf(promise: Promise<unknown>): Promise<QdqError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof QdqError, String(error));
    return error;
  }
  return assert.fail('it was resolved');
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (condition()) return;
    await sleep(10);
  }
  assert.fail('it did not come to be');
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe('RuntimeHost', () => {
  test('runs a task in another process and gives back its result', async () => {
    assert.notEqual(await host.run(tasks.processId, null), process.pid);
  });

  test('keeps the process between tasks', async () => {
    assert.equal(await host.run(tasks.processId, null), await host.run(tasks.processId, null));
  });

  test('carries what can be cloned: maps, typed arrays, NaN, bigint, undefined', async () => {
    const value = { map: new Map([['a', Float32Array.of(1, NaN)]]), big: 2n ** 60n, none: undefined, nested: [[new Uint8Array(0)]], minusZero: -0 };
    assert.deepEqual(await host.run(tasks.echo, value), value);
  });

  test('carries megabytes', async () => {
    const bytes = new Uint8Array(8 << 20).fill(7);
    assert.deepEqual(await host.run(tasks.echo, bytes), bytes);
  });

  test('runs tasks one after another, in order', async () => {
    const spans = await Promise.all([30, 1, 10].map((ms) => host.run(tasks.span, ms)));
    spans.slice(1).forEach((span, i) => assert.ok(span.start >= spans[i]!.end));
  });

  test('tasks that were started are asked for what they have, later ones are not', async () => {
    let begun: (() => void) | undefined;
    const isBegun = new Promise<void>((resolve) => (begun = resolve));
    const own = new RuntimeHost({ onProgress: () => begun!() });
    const waiting = [own.run(tasks.untilEarlyEnd, null), own.run(tasks.isEndingEarly, null)];
    await isBegun;
    own.endEarly();
    assert.deepEqual(await Promise.all(waiting), [true, true]);
    assert.equal(await own.run(tasks.isEndingEarly, null), false);
    await own.close();
    own.endEarly();
  });

  test('reports progress and warnings in order, before the result', async () => {
    const events: ProgressEvent[] = [];
    const warnings: Warning[] = [];
    const own = new RuntimeHost({ onProgress: (event) => events.push(event), onWarning: (warning) => warnings.push(warning) });
    try {
      assert.equal(await own.run(tasks.report, 100), 100);
      assert.deepEqual(events.map(({ done }) => done), Array.from({ length: 100 }, (_, i) => i + 1));
      assert.deepEqual(events[0], { stage: 'counting', done: 1, total: 100, unit: 'samples' });
      assert.equal(warnings.length, 50);
      assert.deepEqual(warnings[0], { code: 'even', message: '2 is even', advice: 'none' });
    } finally {
      await own.close();
    }
  });
});

describe('an error of a task', () => {
  test('keeps code, message and hint', async () => {
    const error = await errorOf(host.run(tasks.failWithCode, 'look at sample 3'));
    assert.deepEqual([error.code, error.message, error.hint], ['data-invalid', 'sample 3 is bad', 'look at sample 3']);
    assert.match(error.stack ?? '', /host-tasks/);
  });

  test('has no hint where there was none', async () => assert.equal((await errorOf(host.run(tasks.failWithCode, undefined))).hint, undefined));

  test('that is no QdqError is internal', async () => {
    const error = await errorOf(host.run(tasks.failPlainly, 'error'));
    assert.deepEqual([error.code, error.message], ['internal', 'cannot read properties']);
    assert.match(error.stack ?? '', /TypeError/);
  });

  test('that is no Error at all is internal', async () => {
    const error = await errorOf(host.run(tasks.failPlainly, 'text'));
    assert.deepEqual([error.code, error.message], ['internal', 'just text']);
  });

  test('does not end the process', async () => {
    const pid = await host.run(tasks.processId, null);
    await errorOf(host.run(tasks.failPlainly, 'error'));
    assert.equal(await host.run(tasks.processId, null), pid);
  });

  test('a result that cannot be cloned, a task and a module that are not there', async () => {
    assert.equal((await errorOf(host.run(tasks.notCloneable, null))).code, 'internal');
    const gone: Task<null, void> = { ...tasks.notCloneable, exportName: 'gone', run: async () => undefined };
    assert.match((await errorOf(host.run(gone, null))).message, /no task gone/);
    assert.equal((await errorOf(host.run({ ...gone, moduleUrl: 'file:///none.js' }, null))).code, 'internal');
  });
});

describe('a crash', () => {
  test('of the process is an error that says how it ended', async () => {
    const error = await errorOf(host.run(tasks.abort, null));
    assert.equal(error.code, 'runtime-crashed');
    assert.match(error.message, /SIGABRT/);
    assert.ok(error.hint);
  });

  test('by SIGKILL, as when memory runs out', async () => {
    const pid = await host.run(tasks.processId, null);
    const started = await host.temporaryPath('started');
    const running = errorOf(host.run(tasks.hang, started));
    await until(() => existsSync(started));
    process.kill(pid, 'SIGKILL');
    const error = await running;
    assert.equal(error.code, 'runtime-crashed');
    assert.match(error.message, /SIGKILL/);
  });

  test('tells the last words', async () => {
    for (let i = 0; i < 5; i++) {
      const error = await errorOf(host.run(tasks.abort, `terminate called after throwing ${i}`));
      assert.match(error.message, new RegExp(`terminate called after throwing ${i}`));
    }
  });

  test('does not repeat the words of an earlier process', async () => {
    await errorOf(host.run(tasks.abort, 'words of the first'));
    assert.doesNotMatch((await errorOf(host.run(tasks.abort, null))).message, /words of the first/);
  });

  test('by an error outside of the task tells that error', async () => {
    const error = await errorOf(host.run(tasks.failLater, null));
    assert.equal(error.code, 'runtime-crashed');
    assert.match(error.message, /thrown outside of any promise/);
  });

  test('by process.exit in the code of a user', async () => {
    const error = await errorOf(host.run(tasks.exit, 0));
    assert.equal(error.code, 'runtime-crashed');
    assert.match(error.message, /ended with code 0/);
  });

  test('rejects all that wait, and the next task runs in a new process', async () => {
    const before = await host.run(tasks.processId, null);
    const waiting = [host.run(tasks.abort, null), host.run(tasks.echo, 1), host.run(tasks.echo, 2)];
    for (const error of await Promise.all(waiting.map(errorOf))) assert.equal(error.code, 'runtime-crashed');
    assert.notEqual(await host.run(tasks.processId, null), before);
  });

  test('between tasks is not noticed', async () => {
    const pid = await host.run(tasks.processId, null);
    process.kill(pid, 'SIGKILL');
    await until(() => !isAlive(pid));
    assert.equal(await host.run(tasks.echo, 'still here'), 'still here');
  });
});

describe('an abort', () => {
  test('ends the process, rejects with interrupted and removes the temporary folder', async () => {
    const controller = new AbortController();
    const own = new RuntimeHost({ signal: controller.signal });
    const pid = await own.run(tasks.processId, null);
    const started = await own.temporaryPath('started');
    const waiting = [own.run(tasks.hang, started), own.run(tasks.echo, 1)].map(errorOf);
    await until(() => existsSync(started));
    controller.abort();
    assert.ok(!existsSync(dirname(started)), 'the folder is still there');
    for (const error of await Promise.all(waiting)) assert.equal(error.code, 'interrupted');
    await until(() => !isAlive(pid));
    assert.equal((await errorOf(own.run(tasks.echo, 1))).code, 'interrupted');
    assert.throws(() => own.throwIfInterrupted(), { code: 'interrupted' });
    await own.close();
  });

  test('that came before starts nothing', async () => {
    const own = new RuntimeHost({ signal: AbortSignal.abort() });
    own.start();
    assert.equal((await errorOf(own.run(tasks.echo, 1))).code, 'interrupted');
    assert.equal((await errorOf(own.temporaryPath('x'))).code, 'interrupted');
    await own.close();
  });

  test('after the end changes nothing', async () => {
    const controller = new AbortController();
    const own = new RuntimeHost({ signal: controller.signal });
    await own.run(tasks.echo, 1);
    await own.close();
    controller.abort();
  });
});

describe('temporaryPath', () => {
  test('asked for twice at once is in one folder', async () => {
    const own = new RuntimeHost();
    const [a, b] = await Promise.all([own.temporaryPath('a'), own.temporaryPath('b')]);
    assert.equal(dirname(a), dirname(b));
    await own.close();
    assert.ok(!existsSync(dirname(a)));
  });
});

describe('close', () => {
  test('removes the temporary folder with what is in it, and ends the process', async () => {
    const own = new RuntimeHost();
    const pid = await own.run(tasks.processId, null);
    const path = await own.temporaryPath('a.bin');
    writeFileSync(path, 'x');
    assert.ok(await own.run(tasks.fileExists, path));
    assert.equal(dirname(await own.temporaryPath('b.bin')), dirname(path));
    await own.close();
    assert.ok(!existsSync(dirname(path)));
    await until(() => !isAlive(pid));
  });

  test('of a host that never ran, and twice', async () => {
    const own = new RuntimeHost();
    await own.close();
    await own.close();
  });
});

/** Runs a few lines that use a host, in a process of their own. */
async function runScript(body: string): Promise<{ stdout: string; stderr: string; code: number | null; signal: string | null }> {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const script = `import { RuntimeHost } from ${url('../../src/runtime/host.js')}; import * as tasks from ${url('./host-tasks.js')};\n${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: dirname(fileURLToPath(import.meta.url)), stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ stdout, stderr, code, signal })));
}

describe('a process that uses a host', () => {
  test('has nothing on its stdout that tasks print', async () => {
    const { stdout, stderr, code } = await runScript(`
      const host = new RuntimeHost();
      await host.run(tasks.print, 'words');
      await host.close();
      console.log('result');`);
    assert.equal(stdout, 'result\n');
    for (const line of ['log words', 'stdout words', 'error words']) assert.ok(stderr.includes(line), `no "${line}" on stderr`);
    assert.equal(code, 0);
  });

  test('ends by itself once the host is closed', async () => {
    const { code } = await runScript(`const host = new RuntimeHost(); host.start(); await host.run(tasks.echo, 1); await host.close();`);
    assert.equal(code, 0);
  });

  test('takes the runtime with it when it is killed', async () => {
    const { stdout, signal } = await runScript(`
      const host = new RuntimeHost();
      console.log(await host.run(tasks.processId, null));
      process.kill(process.pid, 'SIGKILL');`);
    assert.equal(signal, 'SIGKILL');
    await until(() => !isAlive(Number(stdout)));
  });
});
