import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

/** How a program ran. */
export interface MeasuredRun {
  /** From its start to its end, in milliseconds. */
  readonly wallMs: number;
  /** Sum over the processes of its tree of the most memory that each held (VmHWM), in bytes; null where the system does not tell. */
  readonly peakRssBytes: number | null;
  readonly stdout: string;
}

const SAMPLE_MS = 10;
const hasProc = existsSync('/proc/self/status');

/** Runs a program to its end and watches the memory of all its processes. Throws where it does not end with 0. */
export function runMeasured(program: string, args: readonly string[], cwd: string): Promise<MeasuredRun> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const tree = new Map<number, number>(child.pid === undefined ? [] : [[child.pid, 0]]);
    const strangers = new Set([process.pid]);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-2000)));
    const watch = hasProc ? setInterval(() => notePeaks(tree, strangers), SAMPLE_MS) : undefined;
    child.on('error', reject);
    child.on('exit', () => clearInterval(watch));
    let wallMs = 0;
    child.on('exit', () => (wallMs = performance.now() - start));
    child.on('close', (code, signal) => {
      if (code !== 0) return reject(new Error(`${program} ${args.join(' ')} ended with ${signal ?? code}: ${stderr.trim()}`));
      const sum = [...tree.values()].reduce((a, b) => a + b, 0);
      resolve({ wallMs, peakRssBytes: sum > 0 ? sum : null, stdout });
    });
  });
}

/** Notes the high-water marks of a process and all below it. They only grow, so each is off by a process's last moments at most. */
function notePeaks(tree: Map<number, number>, strangers: Set<number>): void {
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!(pid > 0) || strangers.has(pid)) continue;
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      if (!tree.has(pid) && !tree.has(kernelNumber(status, 'PPid'))) strangers.add(pid);
      else tree.set(pid, Math.max(tree.get(pid) ?? 0, 1024 * kernelNumber(status, 'VmHWM')));
    } catch {
      // It has ended meanwhile.
    }
  }
}

function kernelNumber(status: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0);
}
