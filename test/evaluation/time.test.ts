import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { timeTask, type TimeArguments } from '../../src/evaluation/time.js';
import { Session } from '../../src/runtime/session.js';
import { noiseTensor } from '../helpers/graph-builder.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-time-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const models = ['Relu', 'Neg', 'Abs'].map((opType) => stage(folder, `${opType}.onnx`, (g) => void g.output(g.op('y', opType, [g.input('x', ['n', 4])]))));
/** Sample i has i + 1 rows, which tells them apart. */
const data = writeSamples(folder, 'data', Object.fromEntries(Array.from({ length: 10 }, (_, i) => [String(i), { x: noiseTensor([i + 1, 4], i) }])));

/** Runs the task and records which session ran on a feed of how many rows, in order: sessions are letters. */
async function time(t: TestContext, more: Partial<TimeArguments>): Promise<{ times: number[][]; calls: string[]; context: ReturnType<typeof recordingContext> }> {
  const sessions: Session[] = [];
  const calls: string[] = [];
  const runRaw = Session.prototype.runRaw;
  t.mock.method(Session.prototype, 'runRaw', function (this: Session, ...args: Parameters<typeof runRaw>) {
    if (!sessions.includes(this)) sessions.push(this);
    calls.push(`${'abc'[sessions.indexOf(this)]}${args[0]['x']!.dims[0]}`);
    return runRaw.apply(this, args);
  });
  const context = recordingContext();
  const times = await timeTask.run({ models, data, runs: 3, warmup: 0, threads: 1, ...more }, context);
  return { times, calls, context };
}

describe('timeTask', () => {
  test('models take turns, each beginning in turn, and all of a turn run on the same sample', async (t) => {
    const { times, calls } = await time(t, {});
    assert.deepEqual(calls, ['a1', 'b1', 'c1', 'b2', 'c2', 'a2', 'c3', 'a3', 'b3']);
    assert.deepEqual(times.map(({ length }) => length), [3, 3, 3]);
    assert.ok(times.flat().every((ms) => ms > 0));
  });

  test('the warm-up runs and does not count', async (t) => {
    const { times, calls } = await time(t, { models: models.slice(0, 2), runs: 2, warmup: 3 });
    assert.deepEqual(calls, ['a1', 'b1', 'b2', 'a2', 'a3', 'b3', 'b4', 'a4', 'a5', 'b5']);
    assert.deepEqual(times.map(({ length }) => length), [2, 2]);
  });

  test('eight samples at most take turns, again and again', async (t) => {
    const { calls } = await time(t, { models: models.slice(0, 1), runs: 20 });
    assert.deepEqual(calls.map((call) => call.slice(1)).join(' '), '1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8 1 2 3 4');
  });

  test('those named only', async (t) => {
    const { calls } = await time(t, { models: models.slice(0, 1), only: ['9.npz', '2.npz'], runs: 4 });
    assert.deepEqual(calls, ['a3', 'a10', 'a3', 'a10']);
  });

  test('stops at the end of its budget, not before a fifth of the runs, and warms up once where that takes most of it', async (t) => {
    const { times, calls } = await time(t, { budgetMs: 0, runs: 50, warmup: 2 });
    const [first] = times;
    assert.ok(first!.length >= 10 && first!.length <= 11, `${first!.length} runs`);
    assert.deepEqual(times.map(({ length }) => length), [first!.length, first!.length, first!.length]);
    assert.equal(calls.length, 3 * (first!.length + 1));
  });

  test('makes all runs inside its budget', async (t) => {
    assert.equal((await time(t, { budgetMs: 600_000, runs: 20 })).times[0]!.length, 20);
  });

  test('tells its progress in timed runs', async (t) => {
    const { context } = await time(t, { runs: 2, warmup: 5 });
    assert.deepEqual(context.events, [1, 2].map((done) => ({ stage: 'timing', done, total: 2, unit: 'runs' })));
  });

  test('measures the run alone: a slower model takes longer', async (t) => {
    // A hundred times the work, so that a busy machine does not hide it.
    const heavy = (n: number) => stage(folder, `heavy${n}.onnx`, (g) => void g.output(g.op('y', 'MatMul', [g.op('t', 'MatMul', [g.weight('a', [n, 4]), g.op('z', 'Transpose', [g.input('x', [1, 4])])]), g.weight('b', [1, n])])));
    const { times } = await time(t, { models: [heavy(8), heavy(1024)], only: ['0.npz'], runs: 15 });
    const [light, slow] = times.map((each) => Math.min(...each));
    assert.ok(slow! > light!, `${slow} ms against ${light} ms`);
  });
});
