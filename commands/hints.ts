import type { ErrorCode } from '../src/errors.js';

/** What to do next, for errors that come without a hint of their own. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  'file-not-found': 'Check the path.',
  'file-unreadable': 'Check the permissions of the file.',
  'data-empty': 'Check the path given to --data.',
  'data-invalid': 'Check what is given to --data; qdq run --help lists the kinds of data.',
  'runtime-rejected': 'See the operators and opsets of the model with qdq inspect.',
};

/** A hint for an error of a command, named as on the command line. */
export function fallbackHint(code: ErrorCode, command: string | undefined): string | undefined {
  if (code === 'usage') return helpHint(command);
  return HINTS[code];
}

/** Where the options are explained. */
export function helpHint(command: string | undefined): string {
  return command && !command.startsWith('-') ? `See qdq ${command} --help.` : 'See qdq --help.';
}
