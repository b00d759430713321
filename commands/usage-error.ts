import type { CommanderError } from 'commander';
import { QdqError } from '../src/errors.js';
import { helpHint } from './hints.js';

/** What commander found wrong with a command line, as an error of ours: one line, and a hint. */
export function usageError(error: CommanderError, argv: readonly string[]): QdqError {
  if (error.code === 'commander.help') return new QdqError('usage', 'no command was given', helpHint(undefined));
  const [message = '', ...others] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = others.join(' ').replace(/^\(|\)$/g, '');
  return new QdqError('usage', message, suggestion || hintFor(error, argv), { cause: error });
}

function hintFor({ code }: CommanderError, argv: readonly string[]): string {
  const help = helpHint(code === 'commander.unknownCommand' ? undefined : argv[2]);
  const takesRest = code === 'commander.missingArgument' && argv.includes('--data');
  return takesRest ? `--data takes all paths that follow it, so name the model before it. ${help}` : help;
}
