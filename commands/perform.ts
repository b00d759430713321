import { extname } from 'node:path';
import type { Command } from 'commander';
import { EXIT, QdqError } from '../src/errors.js';
import { writeFileAtomic } from '../src/onnx/atomic-file.js';
import type { ReportDocument } from '../src/report/document.js';
import type { DescribeOptions } from '../src/report/warnings-section.js';
import type { VerbOptions } from '../src/verb-options.js';
import type { CommonFlags, Context } from './context.js';
import { checkPlaces, type Place } from './places.js';
import { openTerminal, usesColor, type Terminal } from './terminal.js';

/** What a command adds to what all have in common. */
export interface Job<Result> {
  /** Files that it reads. */
  readonly inputs: readonly (string | undefined)[];
  /** Where it writes. */
  readonly outputs?: readonly Place[];
  readonly run: (common: VerbOptions) => Promise<Result>;
  readonly describe: (result: Result, options: DescribeOptions) => Promise<ReportDocument>;
  /** What is left to do when the result is there, before it is shown. */
  readonly finish?: () => Promise<void>;
  /** Lines about thresholds that the result does not meet. */
  readonly unmet?: (result: Result) => Promise<readonly string[]>;
}

/** Runs a job: checks where it writes, shows progress and warnings on stderr and the result on stdout, and sets the exit code. */
export async function perform<Result>(context: Context, command: Command, job: Job<Result>): Promise<void> {
  const { report, quiet = false, threads } = command.optsWithGlobals<CommonFlags>();
  const isInput = (path: string | undefined): path is string => path !== undefined;
  await checkPlaces([...(job.outputs ?? []), ...reportPlace(report)], job.inputs.filter(isInput));
  const terminal = await openTerminal({ noColor: context.noColor, quiet });
  const result = await runWith(terminal, context, threads, job);
  await job.finish?.();
  if (report !== undefined) await writeFileAtomic(report, await reportText(report, result, job));
  const shown = context.json ? `${JSON.stringify(result, null, 2)}\n` : await terminalText(result, job, context, quiet);
  process.stdout.write(shown);
  const unmet = (await job.unmet?.(result)) ?? [];
  for (const line of unmet) terminal.error(line, undefined);
  context.exitCode = unmet.length > 0 ? EXIT.threshold : EXIT.ok;
}

async function runWith<Result>(terminal: Terminal, context: Context, threads: number | undefined, job: Job<Result>): Promise<Result> {
  try {
    return await job.run({ threads, signal: context.signal, onProgress: terminal.progress, onWarning: terminal.warn });
  } finally {
    terminal.stop();
  }
}

function reportPlace(path: string | undefined): Place[] {
  if (path === undefined) return [];
  if (!['.json', '.md'].includes(extname(path))) throw new QdqError('usage', `--report ${path}: expected a file that ends in .json or .md`);
  return [{ option: '--report', path }];
}

async function reportText<Result>(path: string, result: Result, job: Job<Result>): Promise<string> {
  if (extname(path) === '.json') return `${JSON.stringify(result, null, 2)}\n`;
  const { renderMarkdown } = await import('../src/report/markdown.js');
  return renderMarkdown(await job.describe(result, { warnings: true }));
}

async function terminalText<Result>(result: Result, job: Job<Result>, { noColor }: Context, quiet: boolean): Promise<string> {
  const { renderTerminal } = await import('../src/report/terminal.js');
  const document = await job.describe(result, { warnings: quiet });
  return renderTerminal(document, { color: usesColor(process.stdout, noColor), width: process.stdout.columns || undefined });
}
