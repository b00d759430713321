/** Process exit codes of the command line. */
export const EXIT = { ok: 0, failure: 1, usage: 2, threshold: 3, interrupted: 130, terminated: 143 } as const;

/** What went wrong, in words that scripts can rely on. */
export type ErrorCode =
  | 'usage'
  | 'file-not-found'
  | 'file-unreadable'
  | 'file-unwritable'
  | 'not-onnx'
  | 'model-invalid'
  | 'external-data'
  | 'data-invalid'
  | 'data-empty'
  | 'table-invalid'
  | 'table-mismatch'
  | 'plan-mismatch'
  | 'opset-unsupported'
  | 'nothing-to-quantize'
  | 'runtime-missing'
  | 'runtime-rejected'
  | 'operator-missing'
  | 'runtime-crashed'
  | 'interrupted'
  | 'internal';

/**
 * An error that a user can act on: `message` says what and where, with what was expected and received,
 * `hint` what to do next.
 */
export class QdqError extends Error {
  override readonly name = 'QdqError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, hint?: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
