/**
 * The whole job from the shell: a float model and eight samples in, a quantized model out. qdq beside the reference tool's own functions
 * (peers/reference.py: load npz, preprocess, calibrate, quantize). Writes bench/results/whole-job.md. On a quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/whole-job.js [--rounds 7]
 *
 * Without a Python that has the reference tool only the rows of qdq are written.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeNpz } from '../src/data/npz.js';
import { statsOf } from '../src/metrics/statistics.js';
import { encodeModel } from '../src/onnx/model-codec.js';
import type { QuantizeResult } from '../src/quantize.js';
import { heading, paragraph, type Block } from '../src/report/document.js';
import { mobileNetV2 } from './models/mobilenet-v2.js';
import { picture } from './models/pictures.js';
import { resNet50 } from './models/resnet50.js';
import { repositoryRoot, scratchFolder } from './lib/paths.js';
import { findPeer, peerScript, type Peer } from './lib/peer.js';
import { columns, contextFacts, writeResults } from './lib/results.js';
import { runMeasured, type MeasuredRun } from './lib/run-measured.js';

const SIZE = 224;
const SAMPLES = 8;
const MODELS = { MobileNetV2: mobileNetV2, ResNet50: resNet50 } as const;
const OWN: Readonly<Record<string, readonly string[]>> = {
  'qdq quantize --data': [],
  'qdq quantize --data --effort none': ['--effort', 'none'],
  'qdq quantize --data --effort none --no-verify': ['--effort', 'none', '--no-verify'],
  'qdq quantize --data --effort none --method minmax --no-verify': ['--effort', 'none', '--method', 'minmax', '--no-verify'],
};
const REFERENCE = ['minmax', 'percentile'] as const;

interface Job {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly runs: MeasuredRun[];
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '7' } } });
const rounds = Number(values.rounds);
const scratch = scratchFolder();
const peer = await findPeer();
const data = await writeSamples();
const blocks: Block[] = [
  contextFacts(peer, [
    ['Data', `${SAMPLES} pictures of 3 × ${SIZE} × ${SIZE}, one npz file each; models with random weights (bench/models)`],
    ['Time', `wall clock from the start of the program to its end, files in the page cache; ${rounds} rounds in which all take turns, after one that does not count; median [least, greatest]`],
    ['Memory', 'sum over all processes of the job of the most that each held (VmHWM in /proc, read every 10 ms); median of the rounds'],
    ['Reference', 'bench/peers/reference.py: load npz, quant_pre_process, quantize_static with u8 activations and s8 weights per channel; it measures neither error nor speed'],
  ]),
];
for (const [name, build] of Object.entries(MODELS)) {
  console.error(name);
  const model = join(scratch, `${name}.onnx`);
  writeFileSync(model, encodeModel(build(SIZE)));
  const jobs = jobsFor(peer, model);
  for (let round = 0; round <= rounds; round++) {
    for (const job of jobs) {
      const run = await runMeasured(job.program, job.args, scratch);
      if (round > 0) job.runs.push(run);
    }
  }
  blocks.push(heading(name), jobTable(jobs), paragraph('Where the time of qdq goes, in milliseconds by its own account (durationMs of --json; the rest is starting Node.js and ending):'), phaseTable(jobs));
}
writeResults('whole-job', 'The whole job from the shell', blocks);

async function writeSamples(): Promise<string> {
  const folder = join(scratch, 'data');
  mkdirSync(folder);
  for (let i = 0; i < SAMPLES; i++) await writeNpz(join(folder, `picture${i}.npz`), new Map([['input', picture(SIZE, i + 1)]]));
  return folder;
}

function jobsFor(peer: Peer | undefined, model: string): Job[] {
  const qdq = join(repositoryRoot(), 'bin', 'qdq.js');
  const own = Object.entries(OWN).map(([name, options], i) => {
    const args = [qdq, 'quantize', model, '--data', data, '-o', `${model}.qdq${i}.onnx`, '--json', ...options];
    return { name, program: process.execPath, args, runs: [] };
  });
  const reference = REFERENCE.map((setting) => {
    const args = [peerScript('reference.py'), model, data, `${model}.${setting}.onnx`, setting];
    return { name: `reference, ${setting}`, program: peer?.python ?? '', args, runs: [] };
  });
  return [...own, ...(peer ? reference : [])];
}

function median(values: readonly number[]): number {
  return statsOf(values)?.median ?? NaN;
}

function jobTable(jobs: readonly Job[]): Block {
  const references = REFERENCE.map((setting) => jobs.find(({ name }) => name === `reference, ${setting}`)).filter((job) => job !== undefined);
  return {
    kind: 'table',
    columns: columns('Job', '>Seconds', '>Peak memory, MB', ...references.map(({ name }) => `>Share of the time of ${name}`)),
    rows: jobs.map(({ name, runs }) => {
      const wall = statsOf(runs.map(({ wallMs }) => wallMs / 1000))!;
      const memory = median(runs.flatMap(({ peakRssBytes }) => peakRssBytes ?? []));
      const shares = references.map((reference) => median(runs.map(({ wallMs }, i) => wallMs / reference.runs[i]!.wallMs)).toFixed(2));
      return [name, `${wall.median.toFixed(2)} [${wall.min.toFixed(2)}, ${wall.max.toFixed(2)}]`, Number.isNaN(memory) ? 'n/a' : (memory / 1e6).toFixed(0), ...shares];
    }),
  };
}

function phaseTable(jobs: readonly Job[]): Block {
  const phases = ['read', 'calibrate', 'plan', 'write', 'verify', 'total'] as const;
  const rows = jobs.flatMap(({ name, runs }) => {
    if (name.startsWith('reference')) return [];
    const times = runs.map(({ stdout }) => (JSON.parse(stdout) as QuantizeResult).durationMs);
    return [[name, ...phases.map((phase) => median(times.map((time) => time[phase])).toFixed(0))]];
  });
  return { kind: 'table', columns: columns('Job', ...phases.map((phase) => `>${phase}`)), rows };
}
