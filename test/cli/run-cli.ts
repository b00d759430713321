import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What a command left: its exit code, or the signal that ended it, and what it printed. */
export interface CliResult {
  readonly code: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a command is run. */
export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Path of the program, where it is another one. */
  readonly bin?: string;
}

/** Path of the program. */
export const BIN = fileURLToPath(new URL('../../../bin/qdq.js', import.meta.url));

/** Runs `qdq` in a process of its own, without a terminal and with a plain environment. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return startCli(args, options).result;
}

/** Starts `qdq`, for tests that send it signals. */
export function startCli(args: readonly string[], { cwd, env, bin = BIN }: CliOptions = {}): { readonly child: ChildProcess; readonly result: Promise<CliResult> } {
  const { NO_COLOR: _, FORCE_COLOR: __, ...plain } = process.env;
  const child = spawn(process.execPath, [bin, ...args], { cwd, env: { ...plain, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const result = new Promise<CliResult>((resolve, reject) => {
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('utf8').on('data', (text: string) => (texts[name] += text));
    child.on('error', reject).on('close', (code, signal) => resolve({ code: code ?? signal, ...texts }));
  });
  return { child, result };
}

/** The lines of a text, the last line break left out. */
export function linesOf(text: string): string[] {
  return text.replace(/\n$/, '').split('\n');
}
