import { defineTask } from '../runtime/task.js';
import { addUp, reduceValues, type ReductionArguments } from './value-reduction.js';

/** A value whose last axis, of `depth` elements, is multiplied with itself. */
export interface ProductInput {
  readonly name: string;
  readonly depth: number;
}

/** Sums Σ x xᵀ over the rows of values and over samples, [depth, depth], by value name. */
export const inputProductsTask = defineTask(import.meta.url, 'inputProductsTask', async (args: ReductionArguments<ProductInput>): Promise<Map<string, Float64Array>> => {
  const { reduced } = await reduceValues(
    args,
    (model, { name, depth }) => {
      const rows = model.rows(name, depth);
      return model.node('Gemm', [rows, rows], { transA: { kind: 'int', value: 1 } });
    },
    addUp,
  );
  return reduced;
});
