/** Work that a thread of a pool does. Arguments and result must survive structured cloning. */
export interface Work<Arguments, Result> {
  /** `import.meta.url` of the module that exports the work. */
  readonly moduleUrl: string;
  /** Name under which the module exports it. */
  readonly exportName: string;
  readonly run: (args: Arguments) => Result | Promise<Result>;
}

/** Declares work for the threads of a pool. */
export function defineWork<Arguments, Result>(moduleUrl: string, exportName: string, run: Work<Arguments, Result>['run']): Work<Arguments, Result> {
  return { moduleUrl, exportName, run };
}

/** What a thread is asked. */
export interface WorkRequest {
  readonly moduleUrl: string;
  readonly exportName: string;
  readonly args: unknown;
}

/** What a thread answers, one answer to each request. */
export type WorkAnswer =
  | { readonly kind: 'result'; readonly result: unknown }
  | { readonly kind: 'failure'; readonly code: string; readonly message: string; readonly hint?: string };
