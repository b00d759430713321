/**
 * Which range method gives the least error: each of them, and `auto`, on every float model of a folder of cases and on the repository's
 * samples. Q/DQ run as float, so that the figures are the same on every machine. Writes bench/results/methods.md:
 *
 *   node dist/bench/methods.js [--cases DIR]
 *
 * Cases: DIR, or QDQ_MODELS, or ../shared/models.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { RANGE_METHODS, type RangeMethod } from '../src/calibration/choose-range.js';
import { messageOf } from '../src/errors.js';
import { judgeTask } from '../src/evaluation/judge.js';
import { quantize } from '../src/quantize.js';
import { heading, paragraph, type Block } from '../src/report/document.js';
import { RuntimeHost } from '../src/runtime/host.js';
import { stagedFile } from '../src/runtime/staged-model.js';
import { casesFolder, findCases, type Case } from './lib/cases.js';
import { scratchFolder } from './lib/paths.js';
import { columns, contextFacts, writeResults } from './lib/results.js';

/** SQNR of a case under each method, in dB of the worst output. */
interface Result {
  readonly name: string;
  readonly samples: number;
  readonly sqnr: Readonly<Record<RangeMethod | 'auto', number>>;
  /** Method that `auto` chose. */
  readonly chosen: string;
  readonly biasCorrected: boolean;
}

const { values } = parseArgs({ options: { cases: { type: 'string' } } });
const scratch = scratchFolder();
const host = new RuntimeHost();
const { cases, skipped } = await findCases(casesFolder(values.cases), scratch);
const results: Result[] = [];
const left = [...skipped];
try {
  for (const entry of cases) {
    console.error(entry.name);
    try {
      results.push(await measure(entry));
    } catch (error) {
      left.push({ name: entry.name, reason: messageOf(error) });
    }
  }
} finally {
  await host.close();
}
writeResults('methods', 'Range methods compared', report());

async function measure(entry: Case): Promise<Result> {
  const paths: string[] = [];
  let chosen = '';
  let biasCorrected = false;
  for (const method of [...RANGE_METHODS, 'auto'] as const) {
    const output = join(scratch, `${entry.name.replaceAll('/', '-')}.${method}.onnx`);
    const { calibration } = entry;
    const result = await quantize({ model: entry.model, output, mode: 'static', method, data: [calibration.folder], split: calibration.split, verify: false, effort: 'none' });
    paths.push(output);
    chosen = result.method;
    biasCorrected = result.changes.some(({ pass }) => pass === 'bias-correction');
  }
  const { folder, split } = entry.judging;
  const judged = await host.run(judgeTask, {
    baseline: stagedFile(entry.model),
    candidates: paths.map((path) => ({ model: stagedFile(path), simulate: true })),
    data: { paths: [folder], ...(split ? { split } : {}) },
  });
  const worst = judged.candidates.map(({ outputs }) => Math.min(...outputs.map(({ sqnrDb }) => sqnrDb ?? -Infinity)));
  const sqnr = Object.fromEntries([...RANGE_METHODS, 'auto'].map((method, i) => [method, worst[i]!])) as Result['sqnr'];
  return { name: entry.name, samples: judged.samples, sqnr, chosen, biasCorrected };
}

function report(): Block[] {
  return [
    contextFacts('not needed', [
      ['Settings', 'qdq quantize --mode static with its defaults, but for the method; percentile at 99.999'],
      ['Data', 'cases: even files of inputs/ calibrate, odd ones judge; samples: calibration/ and test/. What judges gave neither ranges nor the choice; of what calibrates, `auto` holds out every fourth from eight on'],
    ]),
    paragraph('SQNR in dB of the worst output, Q/DQ run as float. `auto` compares the methods on samples that gave the ranges, and tries bias correction on the best; single methods go without it.'),
    table(),
    heading('In sum'),
    summary(),
    ...(left.length > 0 ? [heading('Left out'), { kind: 'list' as const, items: left.map(({ name, reason }) => `${name}: ${reason}`) }] : []),
  ];
}

function bestOf({ sqnr }: Result): number {
  return Math.max(...RANGE_METHODS.map((method) => sqnr[method]));
}

function decibels(value: number): string {
  return Number.isFinite(value) ? value.toFixed(1) : '—';
}

function table(): Block {
  return {
    kind: 'table',
    columns: columns('Case', '>Samples', ...RANGE_METHODS.map((method) => `>${method}`), '>auto', 'Chosen by auto', '>auto less the best'),
    rows: results.map((result) => [
      result.name,
      String(result.samples),
      ...RANGE_METHODS.map((method) => decibels(result.sqnr[method])),
      decibels(result.sqnr.auto),
      result.chosen + (result.biasCorrected ? ', biases corrected' : ''),
      decibels(result.sqnr.auto - bestOf(result)),
    ]),
  };
}

function summary(): Block {
  return {
    kind: 'table',
    columns: columns('Method', '>Best of the four, cases', '>Least below the best, dB', '>Mean', '>Most'),
    rows: [...RANGE_METHODS, 'auto' as const].map((method) => {
      const gaps = results.map((result) => bestOf(result) - result.sqnr[method]);
      const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
      const best = method === 'auto' ? '' : String(gaps.filter((gap) => gap <= 0).length);
      return [method, best, decibels(Math.min(...gaps)), decibels(mean), decibels(Math.max(...gaps))];
    }),
  };
}
