import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** What a program took, its child processes included. */
export interface Watched {
  readonly seconds: number;
  /** Largest sum of resident memory, sampled; null where /proc is absent. */
  readonly peakBytes: number | null;
  readonly code: number | null;
  /** End of what it wrote to stderr. */
  readonly stderr: string;
}

const INTERVAL_MS = 20;

/** Runs a program to its end and samples the memory of its process tree. */
export function watchProcess(program: string, args: readonly string[]): Promise<Watched> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    let peak = 0;
    child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-2000)));
    const timer = setInterval(() => (peak = Math.max(peak, treeBytes(child.pid ?? 0))), INTERVAL_MS);
    child.on('error', (error) => {
      clearInterval(timer);
      reject(error);
    });
    child.on('close', (code) => {
      clearInterval(timer);
      resolve({ seconds: (performance.now() - start) / 1000, peakBytes: peak || null, code, stderr });
    });
  });
}

function treeBytes(pid: number): number {
  try {
    const resident = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
    const threads = readdirSync(`/proc/${pid}/task`);
    const children = threads.flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean));
    return children.reduce((sum, child) => sum + treeBytes(Number(child)), resident);
  } catch {
    return 0; // It ended in between, or there is no /proc.
  }
}
