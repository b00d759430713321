/**
 * Every float model of a folder of cases, and the repository's samples: qdq beside the settings of the reference tool, all judged by
 * peers/judge.py. Writes bench/results/models.md. On a quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/models-beside-peer.js [--cases DIR] [--only CASE,CASE]
 *
 * Cases: DIR, or QDQ_MODELS, or ../shared/models. Without a Python that has the reference tool only the rows of qdq are written, judged
 * by `qdq compare`.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/errors.js';
import { quantize } from '../src/quantize.js';
import type { QuantizeOptions } from '../src/quantize-options.js';
import { heading, paragraph, type Block } from '../src/report/document.js';
import { casesFolder, findCases, type Case, type Skipped } from './lib/cases.js';
import { judge, type Failure, type Judgement } from './lib/judge.js';
import { detailTable, verdictTable, type CaseResult, type Row } from './lib/model-tables.js';
import { scratchFolder } from './lib/paths.js';
import { findPeer, type Peer } from './lib/peer.js';
import { runReference, SETTINGS_EXPLAINED, STATIC_SETTINGS } from './lib/reference.js';
import { contextFacts, writeResults } from './lib/results.js';

/** What qdq is asked to do, by the name of the row. */
const OWN_SETTINGS: Readonly<Record<string, Partial<QuantizeOptions>>> = {
  default: {},
  '--effort none': { effort: 'none' },
  '--effort none --target ort-x64': { effort: 'none', target: 'ort-x64' },
};

/** A model that a tool made, or its failure. */
interface Made {
  readonly tool: Row['tool'];
  readonly setting: string;
  readonly note: string;
  readonly made: { readonly path: string } | Failure;
}

async function runOurselves(entry: Case, folder: string): Promise<Made[]> {
  const made: Made[] = [];
  for (const [setting, options] of Object.entries(OWN_SETTINGS)) {
    const output = join(folder, `${entry.name.replaceAll('/', '-')}.qdq${made.length}.onnx`);
    const row = { tool: 'qdq', setting } as const;
    try {
      const { mode, method } = await quantize({ model: entry.model, output, data: [entry.calibration.folder], split: entry.calibration.split, threads: 1, ...options });
      made.push({ ...row, note: mode === 'dynamic' ? 'dynamic' : method, made: { path: output } });
    } catch (error) {
      made.push({ ...row, note: '', made: { fail: messageOf(error) } });
    }
  }
  return made;
}

async function runPeer(peer: Peer, entry: Case, folder: string): Promise<Made[]> {
  const made: Made[] = [];
  for (const setting of [...STATIC_SETTINGS, 'dynamic'] as const) {
    const path = join(folder, `${entry.name.replaceAll('/', '-')}.${setting}.onnx`);
    const run = await runReference(peer, entry.model, entry.calibration, path, setting);
    const fail = 'fail' in run ? run.fail : existsSync(path) ? undefined : 'it wrote nothing';
    made.push({ tool: 'reference', setting, note: 'note' in run ? run.note : '', made: fail === undefined ? { path } : { fail } });
  }
  return made;
}

async function measure(peer: Peer | undefined, entry: Case, folder: string): Promise<CaseResult> {
  const made = [...(await runOurselves(entry, folder)), ...(peer ? await runPeer(peer, entry, folder) : [])];
  const paths = made.flatMap(({ made }) => ('path' in made ? [made.path] : []));
  const judgements = new Map<string, Judgement | Failure>();
  for (const [i, outcome] of (await judge(peer, entry.model, paths, entry.judging)).entries()) judgements.set(paths[i]!, outcome);
  return {
    name: entry.name,
    rows: made.map(({ tool, setting, note, made }) => ({ tool, setting, note, outcome: 'path' in made ? judgements.get(made.path)! : made })),
  };
}

function report(peer: Peer | undefined, results: readonly CaseResult[], skipped: readonly Skipped[]): Block[] {
  return [
    contextFacts(peer, [
      ['Judged by', peer ? 'bench/peers/judge.py with the runtime of the reference, for all rows alike' : '`qdq compare`'],
      ['Data', 'cases: even files of inputs/ calibrate, odd ones judge; samples: calibration/ and test/ (at most 64 files judge)'],
      ['Time', 'one thread; float and quantized model by turns, for 3 seconds or 2,000 pairs, at least 15; median of the paired ratios with its 95 % interval'],
    ]),
    heading('Verdicts'),
    paragraph(
      'Each row of qdq beside the reference row with the best SQNR among those whose fused graph has no more compute nodes in float. SQNR in dB of the worst output: "exact" with products added ' +
        'exactly, as processors with VNNI add them (Q/DQ run as float; not to be had where nodes are quantized dynamically); "here" as the kernels of this processor computed it. Strong is what the target of the row is for: ' +
        'exact sums, or with ort-x64 any processor. SQNR is not lower where it differs by less than 0.05 dB or is greater. Reference rows without VNNI in mind saturate here, as those of the default target do.',
    ),
    verdictTable(results),
    heading('All rows'),
    paragraph(SETTINGS_EXPLAINED),
    ...results.flatMap((result): Block[] => [heading(result.name), detailTable(result)]),
    heading('Left out'),
    { kind: 'list', items: skipped.map(({ name, reason }) => `${name}: ${reason}`) },
  ];
}

const { values } = parseArgs({ options: { cases: { type: 'string' }, only: { type: 'string' } } });
const scratch = scratchFolder();
const peer = await findPeer();
const { cases, skipped } = await findCases(casesFolder(values.cases), scratch);
const only = values.only?.split(',');
const results: CaseResult[] = [];
for (const entry of cases) {
  if (only && !only.includes(entry.name)) continue;
  console.error(entry.name);
  results.push(await measure(peer, entry, scratch));
}
writeResults('models', 'Models beside the reference tool', report(peer, results, skipped));
