import { dirname } from 'node:path';
import { QdqError } from './errors.js';
import type { QuantizedModel, QuantizeJob } from './quantize-job.js';
import { lowerToQOperators } from './quantization/lower-to-qoperators.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageModel } from './runtime/staged-model.js';

/** Brings a quantized model into the form that was asked for, and looks up again what it runs as. */
export async function inFormat({ host, options }: QuantizeJob, quantized: QuantizedModel): Promise<QuantizedModel> {
  if (options.format !== 'qoperator') return quantized;
  if (quantized.mode === 'dynamic') {
    throw new QdqError('usage', 'dynamic quantization writes no Q/DQ that --format qoperator could lower', 'Leave --format out; MatMulInteger and its like are operators on integers already.');
  }
  const { model, changes } = lowerToQOperators(quantized.model);
  const staged = quantized.integer && (await stageModel(host, model, 'qoperator.onnx', dirname(options.model)));
  const integer = staged && (await kernelCoverage(host, staged, { fuseInt8: quantized.foreignTarget })).report;
  return { ...quantized, model, changes: [...quantized.changes, ...changes], integer };
}
