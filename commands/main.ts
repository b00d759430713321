import { CommanderError } from 'commander';
import { EXIT, QdqError, messageOf } from '../src/errors.js';
import { createContext, type Context } from './context.js';
import { fallbackHint } from './hints.js';
import { listenForInterrupts } from './interrupts.js';
import { buildProgram } from './program.js';
import { openTerminal } from './terminal.js';
import { usageError } from './usage-error.js';

/** Runs the command line and returns the exit code. The only place that catches: a message, a hint, an exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  endQuietlyOnClosedPipe();
  const interrupts = listenForInterrupts();
  const context = createContext(argv, interrupts);
  try {
    await buildProgram(context).parseAsync(argv);
    return interrupts.exitCode() ?? context.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const interrupted = interrupts.exitCode();
    const known = interrupted === undefined ? asQdqError(error, argv) : new QdqError('interrupted', 'interrupted', undefined, { cause: error });
    await printError(known, context, argv[2]);
    return interrupted ?? (known.code === 'usage' ? EXIT.usage : EXIT.failure);
  } finally {
    interrupts.dispose();
  }
}

function asQdqError(error: unknown, argv: readonly string[]): QdqError {
  if (error instanceof QdqError) return error;
  if (error instanceof CommanderError) return usageError(error, argv);
  return new QdqError('internal', `internal error: ${messageOf(error)}`, 'This is a defect of qdq. Run it again with --debug and report what it prints.', {
    cause: error,
  });
}

async function printError(error: QdqError, context: Context, command: string | undefined): Promise<void> {
  const { code, message } = error;
  const hint = error.hint ?? fallbackHint(code, command);
  if (context.json) {
    process.stdout.write(`${JSON.stringify({ schema: 'qdq.error/1', error: { code, message, hint: hint ?? null } }, null, 2)}\n`);
  } else {
    const terminal = await openTerminal({ noColor: context.noColor });
    terminal.error(message, hint);
  }
  if (context.debug) process.stderr.write(`${stackOf(error)}\n`);
}

function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}

/** `qdq inspect MODEL | head` closes the pipe early, which is no failure. */
function endQuietlyOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    process.stderr.write(`error: the result cannot be written to stdout: ${error.message}\n`);
    process.exit(EXIT.failure);
  });
}
