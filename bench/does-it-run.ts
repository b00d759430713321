/**
 * The figures of docs/does-it-run-on-integers.md: the glyphs of the samples as float model, quantized dynamically, statically, and trained with
 * fake quantization. Rewrites the table between the marks of that page:
 *
 *   node dist/bench/does-it-run.js
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compare, type CompareResult, type Comparison } from '../src/compare.js';
import { quantize } from '../src/quantize.js';
import { bytes, percent } from '../src/report/format.js';
import { describeCpu, runtimeVersion } from '../src/runtime/machine.js';
import { repositoryRoot, scratchFolder } from './lib/paths.js';

/** The default. Make the table on a processor with VNNI or AMX: without, sums of its products saturate. */
const TARGET = 'ort-x64-vnni';
const MARK = '<!-- figures -->';

const root = repositoryRoot();
const glyphs = join(root, 'samples', 'glyphs');
const float = join(glyphs, 'model.onnx');
const scratch = scratchFolder();

const ways = [
  { name: 'dynamic', model: float, options: { mode: 'dynamic' } as const },
  { name: 'static', model: float, options: { mode: 'static', data: [join(glyphs, 'calibration')] } as const },
  { name: 'quantization-aware', model: join(glyphs, 'qat-8bit.onnx'), options: { mode: 'qat' } as const },
];

const rows: string[] = [];
for (const { name, model, options } of ways) {
  const output = join(scratch, `${name}.onnx`);
  await quantize({ model, output, target: TARGET, verify: false, ...options });
  const judged = (await compare({ baseline: float, candidates: [output], data: [join(glyphs, 'test')], labels: join(glyphs, 'labels.json'), threads: 1 })) as CompareResult & Comparison;
  const { integer, task, latency, candidate, sizeRatio } = judged;
  const { total, integer: stored, residentInteger } = integer.weightBytes;
  if (rows.length === 0) rows.push(`| float32 | 0 % | 0 % | 0 of ${integer.computeNodes} | 0 % | 0 % | ${percent(task!.baseline!)} | 1 | ${bytes(judged.baseline.sizeBytes)} |`);
  const cells = [
    name,
    percent(stored / total),
    percent(residentInteger! / total),
    `${integer.integerNodes} of ${integer.computeNodes}`,
    percent(integer.macsShare ?? 0),
    percent(integer.timeShare ?? 0),
    percent(task!.candidate!),
    `${latency.speedup!.median.toFixed(2)} [${latency.speedup!.low.toFixed(2)}, ${latency.speedup!.high.toFixed(2)}]`,
    `${bytes(candidate.sizeBytes)} (${percent(sizeRatio)})`,
  ];
  rows.push(`| ${cells.join(' | ')} |`);
}

const table = [
  '| way | weights that are integers in the file | in memory | compute nodes on integers | multiply–accumulates | time | top-1 of 200 | speed-up [95 % interval] | size |',
  '|---|---|---|---|---|---|---|---|---|',
  ...rows,
  '',
  `Measured with ${runtimeVersion()} on ${describeCpu()}, one thread, target \`${TARGET}\`.`,
].join('\n');

const page = join(root, 'docs', 'does-it-run-on-integers.md');
const [before, , after] = readFileSync(page, 'utf8').split(MARK);
writeFileSync(page, `${before}${MARK}\n\n${table}\n\n${MARK}${after}`);
