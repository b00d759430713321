import { startSpareChild } from '../src/runtime/host.js';

/** Commands that run models. */
const RUNNING = new Set(['calibrate', 'quantize', 'run', 'compare', 'inspect']);

/** Runs the command line and returns the exit code. The process that runs models starts while the commands are still being loaded. */
export async function start(argv: readonly string[]): Promise<number> {
  const [, , command = '', ...rest] = argv;
  if (RUNNING.has(command) && !rest.includes('--help') && !rest.includes('-h')) startSpareChild();
  const { main } = await import('./main.js');
  return main(argv);
}
