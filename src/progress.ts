/** One step of long work, as the library reports it; the command line draws it. */
export interface ProgressEvent {
  /** What is being done, for example "calibrating". */
  readonly stage: string;
  /** Units done so far. */
  readonly done: number;
  /** Units in all, where known. */
  readonly total?: number;
  /** What a unit is: "samples", "bytes", "runs". */
  readonly unit?: string;
}

/** Receives progress events; must not throw. */
export type ProgressListener = (event: ProgressEvent) => void;

/** A condition that the user should know of but that stops nothing. */
export interface Warning {
  /** Stable name for scripts, for example "few-samples". */
  readonly code: string;
  /** What was seen and why it matters. */
  readonly message: string;
  /** What to do about it. */
  readonly advice: string;
}
