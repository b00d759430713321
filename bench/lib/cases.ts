import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { DataSpec } from '../../src/data/data-spec.js';
import { modelInputs } from '../../src/data/model-inputs.js';
import { writeNpz } from '../../src/data/npz.js';
import { openData } from '../../src/data/open-data.js';
import { readModel } from '../../src/onnx/read-model.js';
import type { JudgingData } from './judge.js';
import { repositoryRoot } from './paths.js';

/** A float model with the samples that calibrate and those that judge. */
export interface Case {
  readonly name: string;
  readonly model: string;
  readonly calibration: JudgingData;
  readonly judging: JudgingData;
}

/** A folder of cases that is left out, and why. */
export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

const SAMPLES = ['glyphs', 'tokens'];

/** Folder of cases that an option names, or QDQ_MODELS, or ../shared/models; undefined where there is none. */
export function casesFolder(option: string | undefined): string | undefined {
  const folder = resolve(option ?? process.env['QDQ_MODELS'] ?? join(repositoryRoot(), '..', 'shared', 'models'));
  if (existsSync(folder)) return folder;
  console.error(`${folder} is absent: only the samples of the repository are measured`);
  return undefined;
}

/**
 * The repository's own samples, whose data is written to `scratch` as npz, and every float model in a folder of cases. A case is a folder
 * with model.onnx and inputs/*.npz, of which the even files calibrate and the odd ones judge.
 */
export async function findCases(folder: string | undefined, scratch: string): Promise<{ cases: Case[]; skipped: Skipped[] }> {
  const cases: Case[] = [];
  const skipped: Skipped[] = [];
  for (const name of SAMPLES) cases.push(await sampleCase(name, join(scratch, name)));
  for (const entry of folder ? readdirSync(folder, { withFileTypes: true }) : []) {
    if (!entry.isDirectory()) continue;
    const path = join(folder!, entry.name);
    const reason = await reasonToSkip(path);
    const inputs = join(path, 'inputs');
    if (reason) skipped.push({ name: entry.name, reason });
    else cases.push({ name: entry.name, model: join(path, 'model.onnx'), calibration: { folder: inputs, split: 'even' }, judging: { folder: inputs, split: 'odd' } });
  }
  return { cases, skipped };
}

async function reasonToSkip(path: string): Promise<string | undefined> {
  const model = join(path, 'model.onnx');
  if (!existsSync(model)) return 'no model.onnx of its own: one-node tests of operators';
  const { graph } = await readModel(model);
  const quantized = graph.nodes.find(({ opType }) => opType === 'DequantizeLinear' || opType.startsWith('QLinear'));
  if (quantized) return `quantized already: it has ${quantized.opType} nodes`;
  return existsSync(join(path, 'inputs')) ? undefined : 'no inputs';
}

async function sampleCase(name: string, scratch: string): Promise<Case> {
  const folder = join(repositoryRoot(), 'samples', name);
  const model = join(folder, 'model.onnx');
  const write = async (part: string): Promise<JudgingData> => ({ folder: await writeAsNpz(model, { paths: [join(folder, part)] }, join(scratch, part)) });
  return { name: `samples/${name}`, model, calibration: await write('calibration'), judging: await write('test') };
}

/** Writes samples as npz files, one run each, and returns their folder. */
export async function writeAsNpz(model: string, data: DataSpec, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const inputs = modelInputs((await readModel(model)).graph);
  for await (const sample of await openData(data, inputs)) {
    await writeNpz(join(folder, `${basename(sample.name).replace(/\.[a-z]+$/, '')}.npz`), sample.inputs);
  }
  return folder;
}
