import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { QdqError, type ErrorCode } from '../errors.js';
import { removeAbandoned, TEMPORARY_PREFIX } from '../onnx/temporary-names.js';
import type { ProgressListener, Warning } from '../progress.js';
import type { EarlyEnd, Task, TaskFailure, TaskMessage } from './task.js';

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
/** Characters of stderr that are kept: a crash writes a long trace after the words that matter. */
const STDERR_TAIL = 16_000;
/** How long the last words of a dead process are waited for; something else may hold its stderr open. */
const LAST_WORDS_MS = 200;
/** Lines of stderr that say nothing: numbered or "at" lines of traces, headings, carets, node's own version. */
const TRACE_LINE = /^\s*(?:\d+: |at |-{3,}|\^+\s*$|Node\.js v|$)/;

/** A child that no host has taken yet. */
let spare: ChildProcess | undefined;

/** Starts a child for the first host to come, while the modules that will need it are still being loaded. It does not keep the process alive. */
export function startSpareChild(): void {
  if (spare) return;
  spare = forkChild();
  setReferenced(spare, false);
}

function takeSpareChild(): ChildProcess | undefined {
  const child = spare;
  spare = undefined;
  if (!child?.connected) return undefined;
  setReferenced(child, true);
  return child;
}

/** Whether the parent's process waits for a child and for what it says. */
function setReferenced(child: ChildProcess, referenced: boolean): void {
  for (const handle of [child, child.channel, child.stderr as Socket | null]) {
    if (referenced) handle?.ref();
    else handle?.unref();
  }
}

function forkChild(): ChildProcess {
  // stdout carries the command's result and nothing else, so what user code in the child prints goes to stderr.
  return fork(CHILD, [], { serialization: 'advanced', stdio: ['ignore', 2, 'pipe', 'ipc'], execArgv: [] });
}

/**
 * The child process in which everything that touches onnxruntime happens, with a temporary folder of its own. The event
 * loop of the parent stays free, a native crash becomes an error, and closing leaves nothing behind.
 */
export class RuntimeHost {
  readonly #options: HostOptions;
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcess | undefined;
  #folder: string | undefined;
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

  /** Asks the tasks that were started to give what they have by now; those that measure until a time is up do. */
  endEarly(): void {
    const message: EarlyEnd = { endEarly: [...this.#pending.keys()] };
    this.#child?.send(message);
  }

  /** Whether the child is at work. */
  get isBusy(): boolean {
    return this.#pending.size > 0;
  }

  /** Throws `interrupted` where the work was stopped; to be called before a result is written. */
  throwIfInterrupted(): void {
    if (this.#options.signal?.aborted) throw interrupted();
  }

  /** A path in the host's temporary folder, which is removed when the host closes. Throws `interrupted` where the work was stopped. */
  async temporaryPath(name: string): Promise<string> {
    this.throwIfInterrupted();
    if (!this.#folder) {
      this.#folder = mkdtempSync(join(tmpdir(), TEMPORARY_PREFIX));
      await removeAbandoned(tmpdir());
      this.throwIfInterrupted();
    }
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
    const child = takeSpareChild() ?? forkChild();
    let words = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      words = (words + chunk.toString()).slice(-STDERR_TAIL);
      process.stderr.write(chunk);
    });
    child.on('message', (message: TaskMessage) => this.#receive(message));
    child.on('error', (error) => this.#rejectAll(new QdqError('runtime-crashed', `the runtime's process did not start: ${error.message}`)));
    child.on('exit', (exitCode, signal) => {
      if (this.#child === child) this.#child = undefined;
      const waiting = this.#takePending();
      if (waiting.length === 0) return;
      const how = signal ? `was ended by ${signal}` : `ended with code ${exitCode}`;
      void streamEnd(child.stderr).then(() => {
        const said = words.split('\n').findLast((line) => !TRACE_LINE.test(line))?.trim();
        const error = new QdqError(
          'runtime-crashed',
          `onnxruntime's process ${how} while it ran the model${said ? ` (${said})` : ''}`,
          'The model may need more memory than there is, or hits a defect of onnxruntime; try it with `qdq run MODEL --data random:1`.',
        );
        for (const { reject } of waiting) reject(error);
      });
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
    for (const { reject } of this.#takePending()) reject(error);
  }

  #takePending(): Pending[] {
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    return waiting;
  }
}

/** Waits for what a dead process has said last. */
async function streamEnd(stream: Readable | null): Promise<void> {
  if (stream && !stream.readableEnded) await Promise.race([once(stream, 'end'), sleep(LAST_WORDS_MS)]);
}

function interrupted(): QdqError {
  return new QdqError('interrupted', 'interrupted');
}

function errorOf(failure: TaskFailure): QdqError {
  const error = new QdqError(failure.code as ErrorCode, failure.message, failure.hint);
  if (failure.stack) error.stack = failure.stack;
  return error;
}
