import { QdqError, type ErrorCode } from './errors.js';
import { proveIn } from './evaluation/prove.js';
import type { Warning } from './progress.js';
import type { RuntimeHost } from './runtime/host.js';
import type { FusedReport, IntegerReport } from './runtime/integer-report.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stagedFile } from './runtime/staged-model.js';

/**
 * What a model file runs as; null, with a warning, where the runtime lacks one of its operators and so cannot load it. `name` is what a warning
 * calls the file.
 */
export async function coverageOrWarning(host: RuntimeHost, path: string, report: (warning: Warning) => void, name = path): Promise<FusedReport | null> {
  try {
    return (await kernelCoverage(host, stagedFile(path))).report;
  } catch (error) {
    if (!(error instanceof QdqError && error.code === 'operator-missing')) throw error;
    const message = `${name} could not be loaded to see what it runs as: ${error.message}`;
    report({ code: 'unverified', message, advice: 'Look at it in a runtime that has the operator.' });
    return null;
  }
}

/** Why a model may not run on samples that are made up. */
const CANNOT_RUN: readonly ErrorCode[] = ['operator-missing', 'runtime-rejected', 'data-invalid'];

/** What a model file ran as in onnxruntime-web on random samples, as only a run shows that; null, with a warning, where it cannot run on such. */
export async function webRunOrWarning(host: RuntimeHost, path: string, threads: number, report: (warning: Warning) => void): Promise<IntegerReport | null> {
  try {
    return await proveIn('web', host, { model: stagedFile(path), data: { paths: ['random:1'] }, threads });
  } catch (error) {
    if (!(error instanceof QdqError && CANNOT_RUN.includes(error.code))) throw error;
    const message = `${path} could not be run on random samples to see what it runs as in onnxruntime-web: ${error.message}`;
    report({ code: 'unverified', message, advice: 'Run it on real samples: qdq run MODEL --runtime web --data …' });
    return null;
  }
}
