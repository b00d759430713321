import { addErrors, emptyErrorSums, type ErrorSums } from '../metrics/error-sums.js';
import { isFloat } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/**
 * Noise that a change of a model puts on its outputs, as power relative to the signal, Σ (y − y₀)² / Σ y₀², at the output where it is largest.
 * Outputs that are no floats, or zero, do not count.
 */
export class RelativeNoise {
  readonly #sums = new Map<string, ErrorSums>();

  /** Takes in the outputs of one sample, without the change and with it. */
  add(reference: ReadonlyMap<string, Tensor>, outputs: ReadonlyMap<string, Tensor>): void {
    for (const [name, expected] of reference) {
      if (!isFloat(expected.dtype)) continue;
      const sum = this.#sums.get(name) ?? emptyErrorSums();
      addErrors(sum, numbersOf(expected), numbersOf(outputs.get(name)!));
      this.#sums.set(name, sum);
    }
  }

  /** The noise over all samples so far; 0 where no output counts. */
  power(): number {
    return Math.max(0, ...[...this.#sums.values()].flatMap(({ signal, noise }) => (signal > 0 ? [noise / signal] : [])));
  }
}
