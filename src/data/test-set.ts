import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { QdqError } from '../errors.js';
import { decodeTensor } from '../onnx/decode-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import { readError } from './open-file.js';
import { listInputs, type ModelInput } from './model-inputs.js';
import type { SampleSource } from './sample.js';

/** A folder of an ONNX test set, whose `input_N.pb` is for the model's N-th input, as one sample. */
export function testSetSource(folder: string, name: string, inputs: readonly ModelInput[]): SampleSource {
  return {
    name,
    async load() {
      const files = (await readdir(folder)).filter((file) => /^input_\d+\.pb$/.test(file));
      const numbers = files.map((file) => Number(/\d+/.exec(file)![0])).sort((a, b) => a - b);
      const missing = inputs.some(({ frozen }, i) => !frozen && !numbers.includes(i));
      if (missing || numbers.some((number) => number >= inputs.length)) {
        const expected = `input_0.pb to input_${inputs.length - 1}.pb for ${listInputs(inputs)}`;
        throw new QdqError('data-invalid', `${folder}: expected ${expected}, received ${files.sort().join(', ')}`);
      }
      const tensors = new Map<string, Tensor>();
      for (const [i, input] of inputs.entries()) if (numbers.includes(i)) tensors.set(input.name, await readTensor(join(folder, `input_${i}.pb`)));
      return tensors;
    },
  };
}

async function readTensor(path: string): Promise<Tensor> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw readError(path, error);
  });
  return decodeTensor(bytes, path).tensor;
}
