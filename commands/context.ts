import type { EarlyStop } from '../src/quantize-options.js';

/** What the parts of one run of the command line share. */
export interface Context {
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** While a search runs: ended by the first SIGINT. */
  readonly earlyStop: EarlyStop;
  /** Whether the result, or the error, goes to stdout as JSON. */
  json: boolean;
  /** Whether errors come with their stacks. */
  debug: boolean;
  /** Whether the user wants no color; terminals and the environment decide otherwise. */
  noColor: boolean;
  /** What the process ends with where nothing is thrown. */
  exitCode: number;
}

/** Options that every command has. */
export interface CommonFlags {
  readonly json?: boolean;
  readonly report?: string;
  readonly quiet?: boolean;
  readonly color: boolean;
  readonly threads?: number;
  readonly debug?: boolean;
  readonly config?: string;
}

/**
 * A context before anything is parsed: errors of parsing are to come in the form that was asked for, too.
 */
export function createContext(argv: readonly string[], { signal, earlyStop }: Pick<Context, 'signal' | 'earlyStop'>): Context {
  const has = (flag: string) => argv.includes(flag);
  return { signal, earlyStop, json: has('--json'), debug: has('--debug'), noColor: has('--no-color'), exitCode: 0 };
}
