import { EXIT } from '../src/errors.js';
import { removeTemporaryFiles } from '../src/onnx/atomic-file.js';
import type { EarlyStop } from '../src/quantize-options.js';

/** How long work may take to end after a signal before the process ends it. */
const GRACE_MS = 2_000;

const EXIT_CODES = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated } as const;
type Signal = keyof typeof EXIT_CODES;

/** Watches for SIGINT and SIGTERM. */
export interface Interrupts {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
  /** While a search runs, the first SIGINT only ends the search: what it found so far is kept. */
  readonly earlyStop: EarlyStop;
  /** The exit code that the signal asks for; undefined where none came. */
  exitCode(): number | undefined;
  /** Stops watching. */
  dispose(): void;
}

/** The first signal aborts the work and removes half-written files; a second one, or work that does not stop, ends the process. */
export function listenForInterrupts(): Interrupts {
  const controller = new AbortController();
  let search: AbortController | undefined;
  let exitCode: number | undefined;
  const onSignal = (signal: Signal) => {
    if (signal === 'SIGINT' && search && !search.signal.aborted) {
      process.stderr.write('\nkeeping the best plan so far; Ctrl-C again stops at once\n');
      search.abort();
      return;
    }
    removeTemporaryFiles();
    if (exitCode !== undefined) process.exit(exitCode);
    const code = EXIT_CODES[signal];
    exitCode = code;
    controller.abort();
    setTimeout(() => {
      removeTemporaryFiles();
      process.exit(code);
    }, GRACE_MS).unref();
  };
  const signals = Object.keys(EXIT_CODES) as Signal[];
  for (const signal of signals) process.on(signal, onSignal);
  return {
    signal: controller.signal,
    earlyStop: {
      begin: () => (search = new AbortController()).signal,
      end: () => (search = undefined),
    },
    exitCode: () => exitCode,
    dispose: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
