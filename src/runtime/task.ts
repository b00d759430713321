import type { ProgressListener, Warning } from '../progress.js';

/** What a task may tell its caller while it runs. */
export interface TaskContext {
  readonly progress: ProgressListener;
  readonly warn: (warning: Warning) => void;
  /** Whether the caller wants what there is by now, because nobody waits for better. */
  readonly endsEarly: () => boolean;
}

/** Work that the runtime's child process does: small arguments in, small results out. */
export interface Task<Arguments, Result> {
  /** `import.meta.url` of the module that exports the task. */
  readonly moduleUrl: string;
  /** Name under which the module exports the task. */
  readonly exportName: string;
  readonly run: (args: Arguments, context: TaskContext) => Promise<Result>;
}

/** Declares a task; arguments and result must survive structured cloning. */
export function defineTask<Arguments, Result>(
  moduleUrl: string,
  exportName: string,
  run: (args: Arguments, context: TaskContext) => Promise<Result>,
): Task<Arguments, Result> {
  return { moduleUrl, exportName, run };
}

/** A request of the parent. */
export interface TaskRequest {
  readonly id: number;
  readonly moduleUrl: string;
  readonly exportName: string;
  readonly args: unknown;
}

/** Asks tasks that are waiting, or at work, to give what they have. */
export interface EarlyEnd {
  readonly endEarly: readonly number[];
}

/** An error in the form that crosses the process boundary. */
export interface TaskFailure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly stack?: string;
}

/** What the child sends. */
export type TaskMessage =
  | { readonly kind: 'progress'; readonly id: number; readonly event: Parameters<ProgressListener>[0] }
  | { readonly kind: 'warning'; readonly id: number; readonly warning: Warning }
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly failure: TaskFailure };
