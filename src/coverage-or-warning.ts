import { QdqError } from './errors.js';
import type { Warning } from './progress.js';
import type { RuntimeHost } from './runtime/host.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stagedFile } from './runtime/staged-model.js';

/**
 * What a model file runs as; null, with a warning, where the runtime lacks one of its operators and so cannot load it. `name` is what a warning
 * calls the file.
 */
export async function coverageOrWarning(host: RuntimeHost, path: string, report: (warning: Warning) => void, name = path): Promise<IntegerReport | null> {
  try {
    return (await kernelCoverage(host, stagedFile(path))).report;
  } catch (error) {
    if (!(error instanceof QdqError && error.code === 'operator-missing')) throw error;
    const message = `${name} could not be loaded to see what it runs as: ${error.message}`;
    report({ code: 'unverified', message, advice: 'Look at it in a runtime that has the operator.' });
    return null;
  }
}
