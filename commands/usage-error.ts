import type { CommanderError } from 'commander';
import { QdqError } from '../src/errors.js';

/** What commander found wrong with a command line, as an error of ours: one line, and a hint. */
export function usageError(error: CommanderError, argv: readonly string[]): QdqError {
  const [first = '', ...others] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = others.join(' ').replace(/^\(|\)$/g, '');
  if (error.code === 'commander.help') return new QdqError('usage', 'no command was given', SEE_HELP);
  return new QdqError('usage', first, suggestion || hintFor(error, argv), { cause: error });
}

const SEE_HELP = 'See qdq --help.';

function hintFor({ code }: CommanderError, argv: readonly string[]): string {
  const [, , command] = argv;
  const help = command && !command.startsWith('-') && code !== 'commander.unknownCommand' ? `See qdq ${command} --help.` : SEE_HELP;
  const takesRest = code === 'commander.missingArgument' && argv.includes('--data');
  return takesRest ? `--data takes all paths that follow it, so name the model before it. ${help}` : help;
}
