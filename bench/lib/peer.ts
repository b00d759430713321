import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { repositoryRoot } from './paths.js';

/** A Python interpreter that has the reference tool. */
export interface Peer {
  readonly python: string;
  /** Versions of Python, the runtime and the libraries, for reports. */
  readonly versions: string;
}

const PROBE = [
  'import platform, numpy, onnx, onnxruntime, sympy',
  "print(f'Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, numpy {numpy.__version__}')",
].join('\n');
const TIMEOUT_MS = 600_000;

/** The interpreter named by QDQ_PEER_PYTHON, or `python3`, where it has the reference tool; undefined otherwise, which is said on stderr. */
export async function findPeer(): Promise<Peer | undefined> {
  const python = process.env['QDQ_PEER_PYTHON'] ?? 'python3';
  try {
    return { python, versions: (await runToEnd(python, ['-c', PROBE])).trim() };
  } catch {
    console.error(`${python} lacks onnxruntime, onnx, numpy or sympy: the reference is left out (name an interpreter in QDQ_PEER_PYTHON)`);
    return undefined;
  }
}

/** Path of a script under bench/peers. */
export function peerScript(name: string): string {
  return join(repositoryRoot(), 'bench', 'peers', name);
}

/** Runs a script under bench/peers and returns what it printed as JSON, line by line. Throws where it ends with an error. */
export async function askPeer<T>(peer: Peer, script: string, args: readonly string[]): Promise<T[]> {
  const text = await runToEnd(peer.python, [peerScript(script), ...args]);
  return text.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as T);
}

/** What a program wrote to stdout. Throws with the end of its stderr where it does not end with 0. */
export function runToEnd(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-2000)));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(stdout);
      else reject(new Error(`${program} ended with ${signal ?? code}: ${stderr.trim().split('\n').at(-1) ?? ''}`));
    });
  });
}
