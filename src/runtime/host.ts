import { fork, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { QdqError, type ErrorCode } from '../errors.js';
import type { ProgressListener, Warning } from '../progress.js';
import type { Task, TaskFailure, TaskMessage } from './task.js';

/** What a host tells its owner, and how it is stopped. */
export interface HostOptions {
  readonly onProgress?: ProgressListener | undefined;
  readonly onWarning?: ((warning: Warning) => void) | undefined;
  /** Ends the child at once and rejects what is pending with code `interrupted`. */
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly resolve: (result: never) => void;
  readonly reject: (error: QdqError) => void;
}

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url));
const STDERR_TAIL = 2_000;

/**
 * The child process in which everything that touches onnxruntime happens, with a temporary folder of its own. The event
 * loop of the parent stays free, a native crash becomes an error, and closing leaves nothing behind.
 */
export class RuntimeHost {
  readonly #options: HostOptions;
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcess | undefined;
  #folder: string | undefined;
  #stderrTail = '';
  #nextId = 0;

  constructor(options: HostOptions = {}) {
    this.#options = options;
    options.signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** Starts the child ahead of the first task, so that it loads the runtime while the caller reads its files. */
  start(): void {
    if (!this.#options.signal?.aborted) this.#child ??= this.#start();
  }

  /** Runs a task in the child, starting it where needed. Rejects with what the task threw, or with `runtime-crashed`. */
  async run<Arguments, Result>(task: Task<Arguments, Result>, args: Arguments): Promise<Result> {
    if (this.#options.signal?.aborted) throw interrupted();
    const child = (this.#child ??= this.#start());
    const id = this.#nextId++;
    return new Promise<Result>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      child.send({ id, moduleUrl: task.moduleUrl, exportName: task.exportName, args });
    });
  }

  /** A path in the host's temporary folder, which is removed when the host closes. */
  async temporaryPath(name: string): Promise<string> {
    this.#folder ??= await mkdtemp(join(tmpdir(), 'qdq-'));
    return join(this.#folder, name);
  }

  /** Ends the child and removes the temporary folder. */
  async close(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#abort);
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }

  readonly #abort = () => {
    this.#child?.kill('SIGKILL');
    if (this.#folder) rmSync(this.#folder, { recursive: true, force: true });
    this.#rejectAll(interrupted());
  };

  #start(): ChildProcess {
    // stdout carries the command's result and nothing else, so what user code in the child prints goes to stderr.
    // From 1.29 on, onnxruntime sends telemetry, and leaves a file in the temporary folder for each process, unless it is told not to.
    const env = { ORT_DISABLE_TELEMETRY: '1', ...process.env };
    const child = fork(CHILD, [], { serialization: 'advanced', stdio: ['ignore', 2, 'pipe', 'ipc'], execArgv: [], env });
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderrTail = (this.#stderrTail + chunk.toString()).slice(-STDERR_TAIL);
      process.stderr.write(chunk);
    });
    child.on('message', (message: TaskMessage) => this.#receive(message));
    child.on('error', (error) => this.#rejectAll(new QdqError('runtime-crashed', `the runtime's process did not start: ${error.message}`)));
    child.on('exit', (exitCode, signal) => {
      if (this.#child === child) this.#child = undefined;
      if (this.#pending.size === 0) return;
      const how = signal ? `was ended by ${signal}` : `ended with code ${exitCode}`;
      const said = this.#stderrTail.trim().split('\n').at(-1);
      this.#rejectAll(
        new QdqError(
          'runtime-crashed',
          `onnxruntime's process ${how} while it ran the model${said ? ` (${said})` : ''}`,
          'The model may need more memory than there is, or hits a defect of onnxruntime; try it with `qdq run MODEL --data random:1`.',
        ),
      );
    });
    return child;
  }

  #receive(message: TaskMessage): void {
    if (message.kind === 'progress') return this.#options.onProgress?.(message.event);
    if (message.kind === 'warning') return this.#options.onWarning?.(message.warning);
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.kind === 'result') pending?.resolve(message.result as never);
    else pending?.reject(errorOf(message.failure));
  }

  #rejectAll(error: QdqError): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

function interrupted(): QdqError {
  return new QdqError('interrupted', 'interrupted');
}

function errorOf(failure: TaskFailure): QdqError {
  const error = new QdqError(failure.code as ErrorCode, failure.message, failure.hint);
  if (failure.stack) error.stack = failure.stack;
  return error;
}
